/**
 * How fast a run is, from the speeds of its steps. Those of single steps jump, above what a machine can do at times: where the end of
 * one is heard of late, the next one seems short. Over some of them the work and the time both add up.
 */

const stepsMax = 10;

export class RecentSpeed {
  readonly #newest: number[] = [];

  /** @returns work over time of the newest ten steps that are known, with this one; NaN where nothing is known of it */
  add(speed: number | undefined): number {
    if (speed === undefined || !(speed > 0)) return Number.NaN;
    this.#newest.push(speed);
    if (this.#newest.length > stepsMax) this.#newest.shift();
    return this.#newest.length / this.#newest.reduce((sum, one) => sum + 1 / one, 0);
  }
}
