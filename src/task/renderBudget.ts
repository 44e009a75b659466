/** The work that rendering a chat template may take. It is apart from the interpreter, whose types need those of a library. */

/** About two seconds. A template takes some 30 steps a message. */
const stepsMax = 1_000_000;

/** What remains of the work that rendering may take. Several renderings can share it. */
export class RenderBudget {
  readonly #steps: number;
  #left: number;

  constructor(steps = stepsMax) {
    this.#steps = steps;
    this.#left = steps;
  }

  /** @throws Error if nothing remains */
  take(steps: number): void {
    this.#left -= steps;
    if (this.#left < 0) {
      throw new Error(
        `it takes more than ${this.#steps} steps. Shorten the conversation, or use a template with fewer loops`,
      );
    }
  }
}
