/** Progress of a command on standard error, for work that turns out to take long; standard output stays the result's. */

/** Nothing is printed before this, nor more often. */
const INTERVAL_MS = 2000;

/** Says how far `label` is and how long it still takes, every two seconds; silent for work that is done sooner. */
export function statusLine(label: string): (done: number) => void {
  const startMs = performance.now();
  let printedMs = startMs;
  return (done) => {
    const nowMs = performance.now();
    if (nowMs - printedMs < INTERVAL_MS || done <= 0) return;
    printedMs = nowMs;
    const leftSeconds = Math.round(((nowMs - startMs) / 1000) * (1 / done - 1));
    process.stderr.write(`${label}: ${Math.floor(100 * done)} %, ${leftSeconds} s left\n`);
  };
}
