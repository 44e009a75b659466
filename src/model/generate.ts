/**
 * Generation: one token after another, each sampled from the model's prediction for what came before.
 *
 * Up to blockSize tokens a cache of keys and values makes each new token cheap. Past it the context is the last blockSize
 * tokens, as in nanoGPT's `generate`; since this shifts the position of every token, each step recomputes the window.
 */
import { randomKey, randomUniform } from '../base/counterRandom.ts';
import { invariant } from '../base/errors.ts';
import type { Engine, Tensor } from '../engine/engine.ts';
import type { GPT, KeyValueCache } from './gpt.ts';
import { type SamplingOptions, sampleToken } from './sampling.ts';
import { Tape, type Variable } from './tape.ts';

export interface GenerateOptions extends SamplingOptions {
  /** At least one token. */
  readonly prompt: ArrayLike<number>;
  /** How many tokens to generate after it. */
  readonly maxTokens: number;
  /** Equal seeds give equal tokens. */
  readonly seed: number;
  /** Off, every step recomputes the whole window: slower, the same tokens. Default on. */
  readonly useCache?: boolean;
}

/** Yields the generated tokens as they are sampled, without the prompt. Its buffers are released when it ends or is left. */
export async function* generate(
  engine: Engine,
  model: GPT,
  options: GenerateOptions,
): AsyncGenerator<number, void, undefined> {
  const { vocabSize, blockSize } = model.config;
  const context = Array.from(options.prompt);
  invariant(context.length > 0, 'generation needs a prompt of at least one token');
  invariant(
    context.every((token) => Number.isInteger(token) && token >= 0 && token < vocabSize),
    `the prompt has a token outside the vocabulary of ${vocabSize}`,
  );
  const key = randomKey(options.seed);
  const logits = new Float32Array(vocabSize);
  const predictor = new Predictor(engine, model, options.useCache ?? true);
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
  readonly #model: GPT;
  readonly #token: Tensor;
  readonly #tape: Tape;
  #cache: KeyValueCache | undefined;
  /** How many tokens of the context the cache holds. */
  #cached = 0;

  constructor(engine: Engine, model: GPT, useCache: boolean) {
    this.#engine = engine;
    this.#model = model;
    this.#token = engine.alloc([1, 1], 'int32');
    this.#tape = new Tape(engine);
    this.#cache = useCache ? model.allocCache() : undefined;
  }

  /** `window` is the end of a context of `contextLength` tokens that grows by one from call to call. */
  async predict(window: readonly number[], contextLength: number, into: Float32Array): Promise<void> {
    if (contextLength > window.length) this.#releaseCache(); // every position has shifted
    if (this.#cache === undefined) {
      await this.#recompute(window, into);
      return;
    }
    for (; this.#cached < window.length - 1; this.#cached++) {
      this.#uploadToken(window[this.#cached]!);
      this.#model.extendCache(this.#tape, this.#token, this.#cached, this.#cache);
      this.#tape.discard();
    }
    this.#uploadToken(window[this.#cached]!);
    await this.#take(this.#model.decode(this.#tape, this.#token, this.#cached, this.#cache), into);
    this.#cached++;
  }

  release(): void {
    this.#tape.discard();
    this.#releaseCache();
    this.#engine.release(this.#token);
  }

  async #recompute(window: readonly number[], into: Float32Array): Promise<void> {
    const tokens = this.#engine.alloc([1, window.length], 'int32');
    try {
      this.#engine.upload(tokens, Int32Array.from(window));
      await this.#take(this.#model.forwardLast(this.#tape, tokens), into);
    } finally {
      this.#engine.release(tokens);
    }
  }

  async #take(logits: Variable, into: Float32Array): Promise<void> {
    await this.#engine.download(logits.value, into);
    this.#tape.discard();
  }

  #uploadToken(token: number): void {
    this.#engine.upload(this.#token, Int32Array.of(token));
  }

  #releaseCache(): void {
    if (this.#cache !== undefined) this.#model.releaseCache(this.#cache);
    this.#cache = undefined;
  }
}
