/** Several texts that a model continues at once, each with the same result as alone. Used by `generate`, `serve` and `chat`. */
import {
  DecodeBatch,
  type DecodeBatchOptions,
  type NextToken,
  type Sequence,
  type SequenceOptions,
} from '../model/decodeBatch.ts';
import { type TokenLogprobs, tokenLogprobs } from '../model/logprobs.ts';
import type { SamplingOptions } from '../model/sampling.ts';
import type { LoadedModel } from './loadModel.ts';
import { inputOf } from './modelInput.ts';
import { TextStream } from './textStream.ts';

/** One text. */
export interface TextRequest extends SamplingOptions, Pick<SequenceOptions, 'repetitionPenalty'> {
  /** At least one token: what the text continues, or the source of its target. */
  readonly prompt: ArrayLike<number>;
  /** A target also ends where the model's context is full. */
  readonly maxTokens: number;
  readonly seed: number;
  /** Texts that end it, each of at least one character; they are not part of it. */
  readonly stop: readonly string[];
  /** Tokens that end it, such as the end of an answer; they are not part of it. Default: none. */
  readonly endTokens?: readonly number[];
  /** Number of most likely alternatives to report for each token; undefined: no log probabilities. */
  readonly logprobs?: number | undefined;
}

/** Why a text ended: a stop text or an end token, or `maxTokens`. */
export type FinishReason = 'stop' | 'length';

/** What a step added to a text. */
export interface TextPiece<T> {
  /** The key given to `add`. */
  readonly of: T;
  /** May be empty. */
  readonly text: string;
  /** Whether there is a new token; a text with no tokens to generate ends without one. */
  readonly hasToken: boolean;
  /** Log probabilities of the new token, if requested. */
  readonly logprobs?: TokenLogprobs & {
    /** Where its text begins in the continuation, in UTF-16 units. */
    readonly offset: number;
  };
  /** Set with the last piece. */
  readonly finish?: FinishReason;
}

interface Text<T> {
  readonly of: T;
  readonly request: TextRequest;
  /** Number of tokens after which it ends. */
  readonly tokensMax: number;
  readonly stream: TextStream;
  count: number;
}

/** `T` is the owner's key for a text. */
export class TextBatch<T> {
  readonly #batch: DecodeBatch;
  readonly #loaded: Pick<LoadedModel, 'model' | 'tokenizer'>;
  readonly #texts = new Map<Sequence, Text<T>>();
  /** Texts with no tokens to generate. */
  readonly #empty = new Set<T>();

  constructor(
    { engine, model, tokenizer }: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>,
    options: DecodeBatchOptions = {},
  ) {
    this.#batch = new DecodeBatch(engine, model, options);
    this.#loaded = { model, tokenizer };
  }

  /** Texts in progress. */
  get size(): number {
    return this.#texts.size + this.#empty.size;
  }

  /** @throws UserError for a source that is longer than the model reads */
  add(of: T, request: TextRequest): void {
    if (request.maxTokens === 0) {
      this.#empty.add(of);
      return;
    }
    const { model, tokenizer } = this.#loaded;
    const input = inputOf(this.#loaded, request.prompt);
    const isTarget = input.source !== undefined;
    const stream = new TextStream(tokenizer, isTarget ? [] : request.prompt, request.stop);
    const tokensMax = isTarget ? Math.min(request.maxTokens, model.config.blockSize) : request.maxTokens;
    this.#texts.set(this.#batch.add({ ...request, ...input }), { of, request, tokensMax, stream, count: 0 });
  }

  /** Ends a text: no more pieces of it follow. */
  remove(of: T): void {
    this.#empty.delete(of);
    for (const [sequence, text] of this.#texts) if (text.of === of) this.#end(sequence);
  }

  /** Adds a token to every text, or processes more of its prompt. Finished texts leave the batch. Call it one step at a time. */
  async step(): Promise<TextPiece<T>[]> {
    const empty = [...this.#empty].map((of): TextPiece<T> => ({ of, text: '', hasToken: false, finish: 'length' }));
    this.#empty.clear();
    if (this.#texts.size === 0) return empty;
    return [...empty, ...(await this.#batch.step()).flatMap((next) => this.#pieceOf(next))];
  }

  /** Ends every text. */
  release(): void {
    this.#empty.clear();
    this.#texts.clear();
    this.#batch.release();
  }

  #pieceOf({ sequence, token, logits }: NextToken): TextPiece<T>[] {
    const text = this.#texts.get(sequence);
    if (text === undefined) return [];
    const { of, request, tokensMax, stream } = text;
    text.count++;
    const offset = stream.length;
    const logprobs = request.logprobs !== undefined && {
      logprobs: { ...tokenLogprobs(logits, token, request.logprobs), offset },
    };
    const isEnd = request.endTokens?.includes(token) ?? false;
    const added = isEnd ? '' : stream.push(token);
    const finish = isEnd || stream.isStopped ? 'stop' : text.count === tokensMax ? 'length' : undefined;
    if (finish === undefined) return [{ of, text: added, hasToken: true, ...logprobs }];
    this.#end(sequence);
    return [{ of, text: added + stream.end(), hasToken: true, ...logprobs, finish }];
  }

  #end(sequence: Sequence): void {
    this.#texts.delete(sequence);
    this.#batch.remove(sequence);
  }
}
