/** Rollouts: what a model writes after the prompts of an iteration. Types only; model/rollout.ts makes them. */

/** A part of an iteration. */
export interface RolloutRequest {
  /** The seed of the run. */
  readonly seed: number;
  /** The iteration of the run; 1 is the first. */
  readonly iteration: number;
  readonly prompts: readonly RolloutPrompt[];
  /** Number of completions of each prompt. */
  readonly group: number;
  /** Maximum number of tokens of a completion. It also ends where prompt and completion fill the model's context. */
  readonly maxTokens: number;
  /** The token that ends a completion; undefined: each is cut off. */
  readonly endToken: number | undefined;
}

/** A prompt of an iteration. */
export interface RolloutPrompt {
  /** Its index in the data, which selects its random numbers. */
  readonly index: number;
  /** At least one token, and at most the model's context. */
  readonly tokens: readonly number[];
}

/** One completion of a prompt, and what the models said about its tokens. */
export interface Rollout {
  /** The index of its prompt. */
  readonly prompt: number;
  /** Its index among the completions of the prompt, from 0. */
  readonly member: number;
  /** The completion, L tokens, including the end token if there is one. */
  readonly tokens: Int32Array;
  /** [L]: the log probability of each token under the model that drew it. */
  readonly logprobs: Float32Array;
  /** [L]: the same under the reference, the model at the start of the run. */
  readonly reference: Float32Array;
  /** [L]: the value that the model predicted before each token; only for PPO. */
  readonly values?: Float32Array;
  /** Whether the model ended it; otherwise it was cut off. */
  readonly ended: boolean;
}
