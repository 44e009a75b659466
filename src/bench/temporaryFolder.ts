/** A folder in the system's temporary folder. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs `body` with a new folder and removes it afterwards, even if a signal ends this process in the meantime: `interrupted` then aborts,
 * for the processes that `body` has started.
 */
export async function withTemporaryFolder<T>(
  prefix: string,
  body: (folder: string, interrupted: AbortSignal) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  const interruption = new AbortController();
  const leave = (): void => {
    for (const signal of signals) process.off(signal, onSignal);
    rmSync(folder, { recursive: true, force: true });
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    interruption.abort();
    leave();
    process.kill(process.pid, signal); // the default action of the signal
  };
  for (const signal of signals) process.on(signal, onSignal);
  try {
    return await body(folder, interruption.signal);
  } finally {
    leave();
  }
}
