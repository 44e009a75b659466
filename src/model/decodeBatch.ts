/**
 * Generates several sequences together, token by token. A sequence may join or leave between two steps, and gets the same tokens as
 * alone, bit for bit.
 *
 * For up to blockSize tokens, a cache of keys and values makes each new token cheap. Each prompt fills its cache separately, in large chunks. Then
 * the newest token of every sequence goes through the model in one pass, which reads the weights once for all of them. Beyond blockSize,
 * the context is the last blockSize tokens, as in nanoGPT's `generate`. This shifts the position of every token, so each step
 * recomputes the sequence's window separately.
 */
import { decodingProblem, hasEncoder, type ModelConfig } from '../architecture/registry.ts';
import { type RandomKey, randomKey, randomUniform } from '../base/counterRandom.ts';
import { invariant, UserError } from '../base/errors.ts';
import type { Engine } from '../engine/engine.ts';
import type { Tensor } from '../engine/tensor.ts';
import type { KeyValueCache } from './keyValueCache.ts';
import type { Model } from './model.ts';
import type { CachedContext } from './pass.ts';
import { penaliseRepetition, type SamplingOptions, sampleToken } from './sampling.ts';
import { Tape } from './tape.ts';
import type { Variable } from './variable.ts';

/** One sequence of a batch. */
export interface SequenceOptions extends SamplingOptions {
  /** At least one token. */
  readonly prompt: ArrayLike<number>;
  /** One or more whole numbers; equal seeds give equal tokens. */
  readonly seed: number | readonly number[];
  /** The tokens of its source, 1 to blockSize, which an encoder–decoder needs and other models do not have. */
  readonly source?: ArrayLike<number> | undefined;
  /**
   * Divides the logits of the tokens in the prompt and those drawn so far, or multiplies negative ones: above 1, they become less likely. Above 0.
   * The source does not count. Default 1: no penalty.
   */
  readonly repetitionPenalty?: number | undefined;
}

export interface DecodeBatchOptions {
  /**
   * If false, every step recomputes every window. This is slower and gives the same tokens, unless two are so close that rounding decides.
   * Default true.
   */
  readonly useCache?: boolean | undefined;
  /** Number of prompt tokens per step. Default 512: more would take more memory without being faster. */
  readonly promptChunk?: number | undefined;
}

/** A sequence's next token. */
export interface NextToken {
  readonly sequence: Sequence;
  readonly token: number;
  /** The model's logits [V], before any penalty and temperature; valid until the next step. */
  readonly logits: Float32Array;
}

/** A sequence in a batch. */
export class Sequence {
  /** @internal */
  readonly sampling: SamplingOptions;
  /** @internal */
  readonly key: RandomKey;
  /** @internal The last tokens of the context, at most blockSize. */
  readonly window: number[];
  /** @internal */
  readonly source: Int32Array | undefined;
  /** @internal Absent if the window is recomputed. */
  cache: KeyValueCache | undefined;
  /** @internal Number of tokens of the window in the cache. */
  cached = 0;
  /** @internal Tokens drawn so far. */
  drawn = 0;
  /** @internal */
  readonly repetitionPenalty: number;
  /** @internal The tokens that the penalty applies to; absent without one. */
  readonly seen: Set<number> | undefined;

  /** @internal Created by `DecodeBatch.add`. */
  constructor(options: SequenceOptions, blockSize: number, cache: KeyValueCache | undefined) {
    const { prompt, seed, source, repetitionPenalty = 1, ...sampling } = options;
    this.repetitionPenalty = repetitionPenalty;
    this.seen = repetitionPenalty === 1 ? undefined : new Set(Array.from(prompt));
    this.sampling = sampling;
    this.source = source && Int32Array.from(source);
    this.key = randomKey(...[seed].flat());
    this.window = Array.from(prompt).slice(-blockSize);
    this.cache = cache;
  }

  /** @internal Tokens of the window that have not gone through the model. */
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
  /** The logits of a step, row by row. */
  #logits = new Float32Array(0);
  #logitsUsed = 0;
  #isStepping = false;

  /** @throws InvariantError for a `promptChunk` that is not a whole number of at least 1. @throws UserError for a model that does not generate text */
  constructor(engine: Engine, model: Model, { useCache = true, promptChunk = 512 }: DecodeBatchOptions = {}) {
    invariant(
      Number.isInteger(promptChunk) && promptChunk >= 1,
      `promptChunk must be a whole number of at least 1, received ${promptChunk}`,
    );
    const problem = decodingProblem(model.config);
    if (problem !== undefined) throw new UserError(`the model ${problem}: expected a language model`);
    this.#engine = engine;
    this.#model = model;
    this.#tape = new Tape(engine);
    this.#useCache = useCache;
    this.#promptChunk = promptChunk;
  }

  /**
   * Adds a sequence, which takes part in every step from the next one on. InvariantError if the prompt or the source is not valid for this
   * model. UserError for an encoder–decoder without a source.
   */
  add(options: SequenceOptions): Sequence {
    const { config } = this.#model;
    const { vocabSize, blockSize } = config;
    const { prompt, source, repetitionPenalty = 1 } = options;
    invariant(prompt.length > 0, 'generation needs a prompt of at least one token');
    invariant(repetitionPenalty > 0, `repetitionPenalty must be above 0, received ${repetitionPenalty}`);
    checkVocabulary('prompt', prompt, vocabSize);
    if (source === undefined && hasEncoder(config)) {
      throw new UserError('the model needs a source, and does not continue texts');
    }
    if (source !== undefined) checkSource(source, config);
    const isCached = this.#useCache && prompt.length <= blockSize;
    const sequence = new Sequence(options, blockSize, isCached ? this.#model.newCache(source) : undefined);
    this.#sequences.add(sequence);
    return sequence;
  }

  /** Ends a sequence and releases its memory. If a step is in progress, this happens at its end, and the sequence gets no token from it. */
  remove(sequence: Sequence): void {
    this.#sequences.delete(sequence);
    if (!this.#isStepping) forgetCache(sequence);
  }

  /**
   * Generates the next token of every sequence whose prompt was processed, and processes part of the other prompts, which may then get their
   * first token. Only one step may run at a time.
   */
  async step(): Promise<NextToken[]> {
    const all = [...this.#sequences];
    this.#isStepping = true;
    this.#logitsUsed = 0;
    try {
      const continued = all.filter((sequence) => !isReading(sequence));
      // Before any of them draws a token, which may end its cache: it would get a second one.
      const withCache = continued.filter(({ cache }) => cache !== undefined);
      const without = continued.filter(({ cache }) => cache === undefined);
      const tokens = [
        ...(await this.#readPrompts(all.filter(isReading))),
        ...(await this.#decodeEach(withCache)),
        ...(await this.#recompute(without)),
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

  /** Processes prompts one after another, a chunk of each, up to the limit of the step. */
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

  /** Generates, in one pass, the next token of the sequences whose caches lack only the newest token. */
  async #decodeEach(sequences: readonly Sequence[]): Promise<NextToken[]> {
    if (sequences.length === 0) return [];
    const newest = sequences.map(({ window }) => window.slice(-1));
    const contexts = sequences.map(contextOf);
    return this.#draw(sequences, newest, (inputs) => this.#model.decodeEach(this.#tape, inputs, contexts));
  }

  /** Generates the next token of the sequences without a cache, each in a separate pass. */
  async #recompute(sequences: readonly Sequence[]): Promise<NextToken[]> {
    const tokens: NextToken[] = [];
    for (const sequence of sequences) {
      const { source } = sequence;
      const forward = (inputs: Tensor) => {
        const encoded = source && { tokens: this.#tape.upload(source, [1, source.length]), lengths: [source.length] };
        return this.#model.forwardLast(this.#tape, inputs, encoded);
      };
      tokens.push(...(await this.#draw([sequence], [sequence.window], forward)));
    }
    return tokens;
  }

  /** Runs `forward` on one row of tokens per sequence, which adds them to the caches, and draws from the logits. */
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
      const { window, sampling, key, seen, repetitionPenalty } = sequence;
      const scores = seen === undefined ? row : penaliseRepetition(row, seen, repetitionPenalty);
      const token = sampleToken(scores, sampling, randomUniform(key, sequence.drawn++));
      seen?.add(token);
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

  /** Memory for this number of logits, until the next step. */
  #logitsOf(size: number): Float32Array {
    if (this.#logitsUsed + size > this.#logits.length) {
      this.#logits = new Float32Array(Math.max(size, 2 * this.#logits.length));
      this.#logitsUsed = 0;
    }
    this.#logitsUsed += size;
    return this.#logits.subarray(this.#logitsUsed - size, this.#logitsUsed);
  }
}

/** Whether the cache lacks more than the newest token, or the source. */
function isReading({ cache, fresh }: Sequence): boolean {
  return cache !== undefined && (fresh > 1 || cache.sourceToEncode !== undefined);
}

function checkVocabulary(what: string, tokens: ArrayLike<number>, vocabSize: number): void {
  invariant(
    Array.from(tokens).every((token) => Number.isInteger(token) && token >= 0 && token < vocabSize),
    `the ${what} has a token outside the vocabulary of ${vocabSize}`,
  );
}

/** Throws an InvariantError for a source that the model cannot read. */
export function checkSource(source: ArrayLike<number>, config: ModelConfig): void {
  const { vocabSize, blockSize } = config;
  invariant(hasEncoder(config), 'a model without an encoder has no source');
  invariant(
    source.length >= 1 && source.length <= blockSize,
    `expected a source of 1 to ${blockSize} tokens, received ${source.length}`,
  );
  checkVocabulary('source', source, vocabSize);
}

function contextOf({ cache, cached }: Sequence): CachedContext {
  invariant(cache !== undefined, 'a sequence without a cache has no context');
  return { cache, position: cached };
}

function forgetCache(sequence: Sequence): void {
  sequence.cache?.release();
  sequence.cache = undefined;
}
