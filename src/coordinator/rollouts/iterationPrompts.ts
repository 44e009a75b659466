/** Which prompts are rolled out in which part of which iteration: a pure function of the seed, the prompts and the config. */
import { ExampleOrder } from '../../data/examples/exampleOrder.ts';
import type { Prompt } from '../../task/prompts.ts';
import type { RolloutPrompt } from '../../task/rollouts.ts';

export interface IterationPromptsOptions {
  readonly seed: number;
  /** All prompts of the run. */
  readonly prompts: readonly Prompt[];
  /** Number of prompts of an iteration. */
  readonly perIteration: number;
  /** Number of prompts of a part. */
  readonly perPart: number;
}

export class IterationPrompts {
  readonly #options: IterationPromptsOptions;
  readonly #order: ExampleOrder;

  constructor(options: IterationPromptsOptions) {
    this.#options = options;
    this.#order = new ExampleOrder(options.prompts.length, options.seed);
  }

  /** Number of parts of an iteration. */
  get parts(): number {
    const { perIteration, perPart } = this.#options;
    return Math.ceil(perIteration / perPart);
  }

  /** Number of iterations in which all prompts are rolled out once. */
  get iterationsPerPass(): number {
    const { prompts, perIteration } = this.#options;
    return Math.ceil(prompts.length / perIteration);
  }

  /** The prompts of a part. */
  of(iteration: number, part: number): RolloutPrompt[] {
    const { prompts, perIteration, perPart } = this.#options;
    const from = part * perPart;
    const count = Math.max(0, Math.min(perPart, perIteration - from));
    return Array.from({ length: count }, (_, i) => {
      const index = this.#at(iteration, from + i);
      return { index, tokens: prompts[index]!.tokens };
    });
  }

  /** No prompt comes twice in an iteration: the last one of a pass takes those from its start that it lacks. */
  #at(iteration: number, place: number): number {
    const { prompts, perIteration } = this.#options;
    const pass = Math.floor((iteration - 1) / this.iterationsPerPass);
    const inPass = ((iteration - 1) % this.iterationsPerPass) * perIteration + place;
    return this.#order.at(pass * prompts.length + (inPass % prompts.length));
  }
}
