/** The messages between the coordinator's process and its reward thread, and the module of a user. No effects. */
import type { EngineOptions } from '../engine/registry.ts';
import type { Message } from '../task/messages.ts';
import type { TaskOutcome } from '../worker/taskOutcome.ts';

/** Where the rewards of a thread come from. */
export type RewardThreadSource =
  | { readonly kind: 'regex'; readonly pattern: string }
  | { readonly kind: 'module'; readonly path: string }
  | { readonly kind: 'model'; readonly path: string; readonly cwd: string; readonly engine: EngineOptions };

/** A completion, as the function of a reward module receives it. */
export interface RewardInput {
  /** The last message of the user. */
  readonly prompt: string;
  /** The conversation; the last message is the user's. */
  readonly messages: readonly Message[];
  /** What the model wrote, without the end token. */
  readonly completion: string;
  /** Whether the model ended it; otherwise it was cut off. */
  readonly ended: boolean;
  /** The answer of the row; undefined for a row without one. */
  readonly expected: string | undefined;
}

/** The default export of a reward module. */
export type RewardFunction = (input: RewardInput) => number | Promise<number>;

/** To the thread. */
export interface RewardRequest {
  readonly id: number;
  readonly inputs: readonly RewardInput[];
}

/** From the thread; `id` 0 says whether it is ready. A reward of a module is whatever it returned. */
export interface RewardAnswer {
  readonly id: number;
  readonly outcome: TaskOutcome<readonly unknown[]>;
}
