/**
 * Sequences that grow together, token by token: each may come and go between two steps, and gets the tokens that it would get alone,
 * bit for bit.
 *
 * Up to blockSize tokens a cache of keys and values makes each new token cheap: the prompt fills it in large chunks, alone, and then
 * the newest token of every sequence goes through the model in one pass, which reads the weights once for all of them. Past blockSize
 * the context is the last blockSize tokens, as in nanoGPT's `generate`; since this shifts the position of every token, each step
 * recomputes the sequence's window, alone.
 */
import { type RandomKey, randomKey, randomUniform } from '../base/counterRandom.ts';
import { invariant } from '../base/errors.ts';
import type { Engine } from '../engine/engine.ts';
import type { Tensor } from '../engine/tensor.ts';
import type { KeyValueCache } from './keyValueCache.ts';
import type { Model } from './model.ts';
import type { CachedContext } from './pass.ts';
import { type SamplingOptions, sampleToken } from './sampling.ts';
import { Tape } from './tape.ts';
import type { Variable } from './variable.ts';

/** One sequence of a batch. */
export interface SequenceOptions extends SamplingOptions {
  /** At least one token. */
  readonly prompt: ArrayLike<number>;
  /** Equal seeds give equal tokens. */
  readonly seed: number;
}

export interface DecodeBatchOptions {
  /**
   * Off, every step recomputes every window: slower, the same tokens, unless two are so nearly as good that rounding decides.
   * Default on.
   */
  readonly useCache?: boolean | undefined;
  /** Tokens of prompts that go through the model in one step. Default 512: more would take more memory and gain no speed. */
  readonly promptChunk?: number | undefined;
}

/** A sequence's next token. */
export interface NextToken {
  readonly sequence: Sequence;
  readonly token: number;
  /** What it was drawn from [V]; valid until the next step. */
  readonly logits: Float32Array;
}

/** A sequence as its batch knows it. */
export class Sequence {
  /** @internal */
  readonly sampling: SamplingOptions;
  /** @internal */
  readonly key: RandomKey;
  /** @internal The last tokens of the context, at most blockSize. */
  readonly window: number[];
  /** @internal Absent where the window is recomputed. */
  cache: KeyValueCache | undefined;
  /** @internal How many tokens of the window the cache holds. */
  cached = 0;
  /** @internal Tokens drawn so far. */
  drawn = 0;

  /** @internal `DecodeBatch.add` makes them. */
  constructor({ prompt, seed, ...sampling }: SequenceOptions, blockSize: number, cache: KeyValueCache | undefined) {
    this.sampling = sampling;
    this.key = randomKey(seed);
    this.window = Array.from(prompt).slice(-blockSize);
    this.cache = cache;
  }

  /** @internal Tokens of the window that no pass has seen. */
  get fresh(): number {
    return this.window.length - this.cached;
  }
}

export class DecodeBatch {
  readonly #engine: Engine;
  readonly #model: Model;
  readonly #tape: Tape;
  readonly #useCache: boolean;
  readonly #promptChunk: number;
  readonly #sequences = new Set<Sequence>();
  /** What is drawn from in a step, row by row. */
  #logits = new Float32Array(0);
  #logitsUsed = 0;
  #isStepping = false;

  /** @throws InvariantError for a `promptChunk` that is no whole number of at least 1 */
  constructor(engine: Engine, model: Model, { useCache = true, promptChunk = 512 }: DecodeBatchOptions = {}) {
    invariant(
      Number.isInteger(promptChunk) && promptChunk >= 1,
      `promptChunk must be a whole number of at least 1, got ${promptChunk}`,
    );
    this.#engine = engine;
    this.#model = model;
    this.#tape = new Tape(engine);
    this.#useCache = useCache;
    this.#promptChunk = promptChunk;
  }

  /** A sequence that is part of every step from the next one on. InvariantError for a prompt that is none of this model's. */
  add(options: SequenceOptions): Sequence {
    const { vocabSize, blockSize } = this.#model.config;
    const { prompt } = options;
    invariant(prompt.length > 0, 'generation needs a prompt of at least one token');
    invariant(
      Array.from(prompt).every((token) => Number.isInteger(token) && token >= 0 && token < vocabSize),
      `the prompt has a token outside the vocabulary of ${vocabSize}`,
    );
    const isCached = this.#useCache && prompt.length <= blockSize;
    const sequence = new Sequence(options, blockSize, isCached ? this.#model.newCache() : undefined);
    this.#sequences.add(sequence);
    return sequence;
  }

  /** Ends a sequence and gives its memory back, at the end of a step that is in progress: it gets no token from it. */
  remove(sequence: Sequence): void {
    this.#sequences.delete(sequence);
    if (!this.#isStepping) forgetCache(sequence);
  }

  /**
   * The next token of every sequence whose prompt has been read; a part of the prompts of the others, which may get their first one.
   * One step at a time.
   */
  async step(): Promise<NextToken[]> {
    const all = [...this.#sequences];
    this.#isStepping = true;
    this.#logitsUsed = 0;
    try {
      const continued = all.filter((sequence) => !isReading(sequence));
      const tokens = [
        ...(await this.#readPrompts(all.filter(isReading))),
        ...(await this.#decodeEach(continued.filter(({ cache }) => cache !== undefined))),
        ...(await this.#recompute(continued.filter(({ cache }) => cache === undefined))),
      ];
      return tokens.filter(({ sequence }) => this.#sequences.has(sequence));
    } finally {
      this.#isStepping = false;
      for (const sequence of all) if (!this.#sequences.has(sequence)) forgetCache(sequence);
    }
  }

  /** Ends every sequence. */
  release(): void {
    for (const sequence of [...this.#sequences]) this.remove(sequence);
  }

  /** Prompts one after another, a chunk of each, until the step has read its share. */
  async #readPrompts(sequences: readonly Sequence[]): Promise<NextToken[]> {
    const tokens: NextToken[] = [];
    let left = this.#promptChunk;
    for (const sequence of sequences) {
      if (left <= 0) break;
      const context = contextOf(sequence);
      const chunk = sequence.window.slice(sequence.cached, sequence.cached + this.#promptChunk);
      left -= chunk.length;
      if (sequence.fresh > chunk.length) {
        await this.#run([chunk], (inputs) => this.#model.extendCache(this.#tape, inputs, context));
        sequence.cached += chunk.length;
      } else {
        const decode = (inputs: Tensor) => this.#model.decode(this.#tape, inputs, context);
        tokens.push(...(await this.#draw([sequence], [chunk], decode)));
      }
    }
    return tokens;
  }

  /** The next token of those of which all but the newest is in their caches, in one pass. */
  async #decodeEach(sequences: readonly Sequence[]): Promise<NextToken[]> {
    if (sequences.length === 0) return [];
    const newest = sequences.map(({ window }) => window.slice(-1));
    const contexts = sequences.map(contextOf);
    return this.#draw(sequences, newest, (inputs) => this.#model.decodeEach(this.#tape, inputs, contexts));
  }

  /** The next token of those without a cache, each in a pass of its own. */
  async #recompute(sequences: readonly Sequence[]): Promise<NextToken[]> {
    const tokens: NextToken[] = [];
    for (const sequence of sequences) {
      const forward = (inputs: Tensor) => this.#model.forwardLast(this.#tape, inputs);
      tokens.push(...(await this.#draw([sequence], [sequence.window], forward)));
    }
    return tokens;
  }

  /** Runs `forward` on one row of tokens for each sequence, whose caches hold these then, and draws from its logits. */
  async #draw(
    sequences: readonly Sequence[],
    rows: readonly (readonly number[])[],
    forward: (inputs: Tensor) => Variable,
  ): Promise<NextToken[]> {
    const { vocabSize, blockSize } = this.#model.config;
    const logits = this.#logitsOf(sequences.length * vocabSize);
    await this.#run(rows, forward, logits);
    return sequences.map((sequence, i) => {
      const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize);
      const { window, sampling, key } = sequence;
      const token = sampleToken(row, sampling, randomUniform(key, sequence.drawn++));
      if (sequence.cache !== undefined) sequence.cached = window.length;
      window.push(token);
      if (window.length > blockSize) {
        window.shift(); // every position has shifted
        forgetCache(sequence);
      }
      return { sequence, token, logits: row };
    });
  }

  /** Uploads rows of T tokens as [B, T], runs `forward` on them, and copies its result out if there is a place for it. */
  async #run(
    rows: readonly (readonly number[])[],
    forward: (inputs: Tensor) => Variable,
    into?: Float32Array,
  ): Promise<void> {
    try {
      const result = forward(this.#tape.upload(Int32Array.from(rows.flat()), [rows.length, rows[0]!.length]));
      if (into !== undefined) await this.#engine.download(result.value, into);
    } finally {
      this.#tape.discard();
    }
  }

  /** A place for so many logits, until the next step. */
  #logitsOf(size: number): Float32Array {
    if (this.#logitsUsed + size > this.#logits.length) {
      this.#logits = new Float32Array(Math.max(size, 2 * this.#logits.length));
      this.#logitsUsed = 0;
    }
    this.#logitsUsed += size;
    return this.#logits.subarray(this.#logitsUsed - size, this.#logitsUsed);
  }
}

/** Whether more than the newest token is not in its cache yet. */
function isReading({ cache, fresh }: Sequence): boolean {
  return cache !== undefined && fresh > 1;
}

function contextOf({ cache, cached }: Sequence): CachedContext {
  invariant(cache !== undefined, 'a sequence without a cache has no context');
  return { cache, position: cached };
}

function forgetCache(sequence: Sequence): void {
  sequence.cache?.release();
  sequence.cache = undefined;
}
