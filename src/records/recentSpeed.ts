/**
 * How fast a run is, from the speeds of its steps. The speeds of single steps vary, and work adds up over time: a run that has one
 * step at 100 tokens per second and one at 10 makes 18, not 55. So times are averaged, never speeds.
 */

const stepsMax = 10;
/** Weight of the newest step in the average time. */
const smoothing = 0.1;

export class RecentSpeed {
  readonly #newest: number[] = [];

  /** @returns work over time of the newest ten steps that are known, with this one; NaN if it is unknown */
  add(speed: number | undefined): number {
    if (speed === undefined || !(speed > 0)) return Number.NaN;
    this.#newest.push(speed);
    if (this.#newest.length > stepsMax) this.#newest.shift();
    return meanSpeed(this.#newest.map((each) => [each, 1]));
  }
}

/** Smoothed, so that one slow step does not shake the time left: `speed` of the newest step has a tenth of the weight. */
export function smoothedSpeed(before: number | undefined, speed: number): number {
  if (before === undefined) return speed;
  return meanSpeed([
    [before, 1 - smoothing],
    [speed, smoothing],
  ]);
}

/** Work over time. @param speeds each with the work that was done at it */
export function meanSpeed(speeds: readonly (readonly [speed: number, work: number])[]): number {
  let work = 0;
  let time = 0;
  for (const [speed, each] of speeds) {
    work += each;
    time += each / speed;
  }
  return work / time;
}
