/**
 * Generation: one token after another, each sampled from the model's prediction for what came before.
 *
 * Up to blockSize tokens a cache of keys and values makes each new token cheap: the prompt fills it in large chunks, and then each
 * token goes through the model alone. Past blockSize the context is the last blockSize tokens, as in nanoGPT's `generate`; since
 * this shifts the position of every token, each step recomputes the window.
 */
import { randomKey, randomUniform } from '../base/counterRandom.ts';
import { invariant } from '../base/errors.ts';
import type { Engine } from '../engine/engine.ts';
import type { Tensor } from '../engine/tensor.ts';
import type { KeyValueCache } from './keyValueCache.ts';
import type { Model } from './model.ts';
import { type SamplingOptions, sampleToken } from './sampling.ts';
import { Tape } from './tape.ts';
import type { Variable } from './variable.ts';

export interface GenerateOptions extends SamplingOptions {
  /** At least one token. */
  readonly prompt: ArrayLike<number>;
  /** How many tokens to generate after it. */
  readonly maxTokens: number;
  /** Equal seeds give equal tokens. */
  readonly seed: number;
  /**
   * Off, every step recomputes the whole window: slower, the same tokens, unless two are so nearly as good that rounding decides.
   * Default on.
   */
  readonly useCache?: boolean;
  /** Tokens of the prompt that go through the model at once. Default 512: more would take more memory and gain no speed. */
  readonly promptChunk?: number;
}

/** Yields the generated tokens as they are sampled, without the prompt. Its buffers are released when it ends or is left. */
export async function* generate(
  engine: Engine,
  model: Model,
  options: GenerateOptions,
): AsyncGenerator<number, void, undefined> {
  const { vocabSize, blockSize } = model.config;
  const context = Array.from(options.prompt);
  invariant(context.length > 0, 'generation needs a prompt of at least one token');
  invariant(
    context.every((token) => Number.isInteger(token) && token >= 0 && token < vocabSize),
    `the prompt has a token outside the vocabulary of ${vocabSize}`,
  );
  const { promptChunk } = options;
  invariant(
    promptChunk === undefined || (Number.isInteger(promptChunk) && promptChunk >= 1),
    `promptChunk must be a whole number of at least 1, got ${promptChunk}`,
  );
  const key = randomKey(options.seed);
  const logits = new Float32Array(vocabSize);
  const predictor = new Predictor(engine, model, options);
  try {
    for (let i = 0; i < options.maxTokens; i++) {
      await predictor.predict(context.slice(-blockSize), context.length, logits);
      const token = sampleToken(logits, options, randomUniform(key, i));
      context.push(token);
      yield token;
    }
  } finally {
    predictor.release();
  }
}

/** Computes the logits of the next token, with or without a cache. */
class Predictor {
  readonly #engine: Engine;
  readonly #model: Model;
  readonly #tape: Tape;
  readonly #promptChunk: number;
  #cache: KeyValueCache | undefined;
  /** How many tokens of the context the cache holds. */
  #cached = 0;

  constructor(engine: Engine, model: Model, { useCache = true, promptChunk = 512 }: GenerateOptions) {
    this.#engine = engine;
    this.#model = model;
    this.#tape = new Tape(engine);
    this.#promptChunk = promptChunk;
    this.#cache = useCache ? model.newCache() : undefined;
  }

  /** `window` is the end of a context of `contextLength` tokens that grows by one from call to call. */
  async predict(window: readonly number[], contextLength: number, into: Float32Array): Promise<void> {
    if (contextLength > window.length) this.#releaseCache(); // every position has shifted
    const cache = this.#cache;
    if (cache === undefined) {
      await this.#run(window, (tokens) => this.#model.forwardLast(this.#tape, tokens), into);
      return;
    }
    for (; window.length - this.#cached > this.#promptChunk; this.#cached += this.#promptChunk) {
      const chunk = window.slice(this.#cached, this.#cached + this.#promptChunk);
      await this.#run(chunk, (tokens) =>
        this.#model.extendCache(this.#tape, tokens, { cache, position: this.#cached }),
      );
    }
    const rest = window.slice(this.#cached);
    await this.#run(rest, (tokens) => this.#model.decode(this.#tape, tokens, { cache, position: this.#cached }), into);
    this.#cached = window.length;
  }

  release(): void {
    this.#tape.discard();
    this.#releaseCache();
  }

  /** Uploads the tokens as [1, T], runs `forward` on them, and copies its result out if there is a place for it. */
  async #run(context: readonly number[], forward: (tokens: Tensor) => Variable, into?: Float32Array): Promise<void> {
    try {
      const result = forward(this.#tape.upload(Int32Array.from(context), [1, context.length]));
      if (into !== undefined) await this.#engine.download(result.value, into);
    } finally {
      this.#tape.discard();
    }
  }

  #releaseCache(): void {
    this.#cache?.release();
    this.#cache = undefined;
  }
}
