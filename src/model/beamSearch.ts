/**
 * Beam search: the likeliest targets of a source that an encoder–decoder finds by continuing several beams at once, as Hugging Face's
 * `generate(num_beams, early_stopping=False)` does. All beams go through the model in one pass, and share the keys and values of the source.
 *
 * K beams, V vocabulary.
 */
import { decodingProblem, hasEncoder } from '../architecture/registry.ts';
import { invariant, UserError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import type { Engine } from '../engine/engine.ts';
import type { Tensor } from '../engine/tensor.ts';
import { checkSource } from './decodeBatch.ts';
import type { KeyValueCache } from './keyValueCache.ts';
import { logSumExp } from './logprobs.ts';
import type { Model } from './model.ts';
import { Tape } from './tape.ts';
import { selectTop } from './topK.ts';
import type { Variable } from './variable.ts';

/** What is searched for, and how widely. */
export interface BeamSearchOptions {
  /** The tokens of the source, 1 to blockSize. */
  readonly source: ArrayLike<number>;
  /** The token before the first of a target, which belongs to no result. */
  readonly begin: number;
  /** The token that ends a target. */
  readonly end: number;
  /** K: the number of targets that are continued, and of results. 1 is greedy search. */
  readonly beams: number;
  /** Maximum number of tokens of a target, including its end: at most blockSize. */
  readonly maxTokens: number;
  /** The power of a target's length by which its log probability is divided. Default 1, the mean of its tokens. 0 prefers short targets. */
  readonly lengthPenalty?: number | undefined;
  /** Tokens that no target contains, such as padding. Default: none. */
  readonly never?: readonly number[] | undefined;
}

const optionNames = {
  source: true,
  begin: true,
  end: true,
  beams: true,
  maxTokens: true,
  lengthPenalty: true,
  never: true,
} satisfies OptionNames<BeamSearchOptions>;

/** A target that was found. */
export interface FoundTarget {
  /** Its tokens, the last of which is the end unless it has the maximum length. */
  readonly tokens: readonly number[];
  /** The sum of the log probabilities of its tokens, in nats, divided by length^lengthPenalty. */
  readonly score: number;
}

/** A target that can be continued. */
interface Beam {
  readonly tokens: readonly number[];
  /** The sum of the log probabilities. */
  readonly logprob: number;
  readonly cache: KeyValueCache;
}

/** A beam with one more token. */
interface Candidate {
  readonly beam: Beam;
  readonly token: number;
  readonly logprob: number;
}

/**
 * The best targets of a source, best first: at most K. If two are equally likely, the one of the better beam comes first, then that with the
 * lower token. The results depend on nothing else: the bits of a beam are those that it has alone.
 * @throws UserError for a model that is not an encoder–decoder
 * @throws InvariantError for options that do not fit the model
 */
export async function beamSearch(engine: Engine, model: Model, options: BeamSearchOptions): Promise<FoundTarget[]> {
  checkOptionNames('beamSearch', options, optionNames);
  check(model, options);
  const { source, begin, end, beams: K, maxTokens, lengthPenalty = 1, never = [] } = options;
  const scorer = new Scorer(engine, model);
  const scoreOf = (logprob: number, length: number) => logprob / length ** lengthPenalty;
  let found: FoundTarget[] = [];
  let beams: Beam[] = [{ tokens: [], logprob: 0, cache: model.newCache(source) }];
  try {
    for (let length = 1; beams.length > 0; length++) {
      const logits = await scorer.next(beams, begin);
      // Each beam ends at most once, so at least K of these can be continued.
      const candidates = bestOf(beams, logits, { count: 2 * K, never });
      const isLast = (token: number) => token === end || length === maxTokens;
      const ended = candidates.slice(0, K).filter(({ token }) => isLast(token));
      found = [
        ...found,
        ...ended.map(({ beam, token, logprob }) => ({
          tokens: [...beam.tokens, token],
          score: scoreOf(logprob, length),
        })),
      ];
      found = found.sort((a, b) => b.score - a.score).slice(0, K);
      beams = continued(beams, candidates.filter(({ token }) => !isLast(token)).slice(0, K));
      // Longer targets are usually less likely: the best beam would be no better than the worst of K targets.
      if (found.length === K && beams.length > 0 && scoreOf(beams[0]!.logprob, length) <= found.at(-1)!.score) break;
    }
  } finally {
    for (const { cache } of beams) cache.release();
  }
  return found;
}

function check(model: Model, options: BeamSearchOptions): void {
  const { config } = model;
  if (decodingProblem(config) !== undefined || !hasEncoder(config)) {
    throw new UserError('beam search needs an encoder–decoder, which generates a target from a source');
  }
  const { source, begin, end, beams, maxTokens, lengthPenalty = 1 } = options;
  checkSource(source, config);
  for (const [name, token] of Object.entries({ begin, end })) {
    invariant(
      Number.isInteger(token) && token >= 0 && token < config.vocabSize,
      `${name} is ${token}: expected a token of the vocabulary of ${config.vocabSize}`,
    );
  }
  invariant(Number.isInteger(beams) && beams >= 1, `beams must be a whole number of at least 1, received ${beams}`);
  invariant(
    Number.isInteger(maxTokens) && maxTokens >= 1 && maxTokens <= config.blockSize,
    `maxTokens must be a whole number from 1 to blockSize ${config.blockSize}, received ${maxTokens}`,
  );
  invariant(Number.isFinite(lengthPenalty), `lengthPenalty must be a number, received ${lengthPenalty}`);
}

/** Logits of the next token of each beam, in one pass. */
class Scorer {
  readonly #engine: Engine;
  readonly #model: Model;
  readonly #tape: Tape;

  constructor(engine: Engine, model: Model) {
    this.#engine = engine;
    this.#model = model;
    this.#tape = new Tape(engine);
  }

  async next(beams: readonly Beam[], begin: number): Promise<Float32Array[]> {
    const { vocabSize: V } = this.#model.config;
    const newest = this.#tape.upload(
      Int32Array.from(beams, ({ tokens }) => tokens.at(-1) ?? begin),
      [beams.length, 1],
    );
    try {
      const logits = new Float32Array(beams.length * V);
      await this.#engine.download(this.#forward(beams, newest).value, logits);
      return beams.map((_, i) => logits.subarray(i * V, (i + 1) * V));
    } finally {
      this.#tape.discard();
    }
  }

  #forward(beams: readonly Beam[], newest: Tensor): Variable {
    const contexts = beams.map(({ cache, tokens }) => ({ cache, position: tokens.length }));
    const [only, ...others] = contexts;
    // The first pass also encodes the source.
    if (others.length === 0) return this.#model.decode(this.#tape, newest, only!);
    return this.#model.decodeEach(this.#tape, newest, contexts);
  }
}

/** The likeliest continuations of all beams, at most `count`. */
function bestOf(
  beams: readonly Beam[],
  logits: readonly Float32Array[],
  { count, never }: { readonly count: number; readonly never: readonly number[] },
): Candidate[] {
  const candidates = beams.flatMap((beam, i): Candidate[] => {
    const row = logits[i]!;
    const logSum = logSumOf(row);
    for (const token of never) row[token] = Number.NEGATIVE_INFINITY;
    // Ascending tokens, so that a stable sort leaves the lower one first.
    return Array.from(selectTop(row, count), (token) => ({
      beam,
      token,
      logprob: beam.logprob + row[token]! - logSum,
    }));
  });
  const possible = candidates.filter(({ logprob }) => logprob > Number.NEGATIVE_INFINITY);
  return possible.sort((a, b) => b.logprob - a.logprob).slice(0, count);
}

/** UserError if the weights are damaged. */
function logSumOf(logits: Float32Array): number {
  const logSum = logSumExp(logits);
  if (!Number.isFinite(logSum)) {
    throw new UserError(
      'the model predicts logits that are not finite: its training diverged or its weights are damaged. Use an earlier checkpoint.',
    );
  }
  return logSum;
}

/** The beams of the candidates. A beam's first continuation takes its cache, others a copy; a beam without any releases it. */
function continued(beams: readonly Beam[], candidates: readonly Candidate[]): Beam[] {
  const taken = new Set<Beam>();
  const next = candidates.map(({ beam, token, logprob }) => {
    const cache = taken.has(beam) ? beam.cache.copy() : beam.cache;
    taken.add(beam);
    return { tokens: [...beam.tokens, token], logprob, cache };
  });
  for (const beam of beams) if (!taken.has(beam)) beam.cache.release();
  return next;
}
