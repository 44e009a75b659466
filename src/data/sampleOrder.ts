/**
 * Where a sample of a step begins: pure functions of (seed, step, index in the global batch, samples of the steps before). Whoever computes a sample, on however
 * many workers and after however many resumes, gets the same one; nothing is stored and nothing is consumed.
 *
 * `random` draws windows with replacement, as nanoGPT does; `shuffled` takes every window of a corpus once an epoch. Several corpora
 * take turns in the proportion of their weights. Why so: docs/decisions/sampler.md.
 */
import { randomBits, randomKey } from '../base/counterRandom.ts';
import { InvariantError, invariant } from '../base/errors.ts';
import { permutation } from './permutation.ts';

/** Keep these streams apart from others that start from the same seed. */
const randomStream = 0x73616d70;
const shuffledStream = 0x73687566;
/** Weights are multiples of 1 / so many: products with the number of a sample stay exact up to 2^32 samples. */
const weightUnits = 2 ** 20;

/** Windows at random, with replacement; or every window once an epoch. */
export type SamplerKind = 'random' | 'shuffled';

/** One of the corpora that lie one after another in the training split. */
export interface CorpusShare {
  /** How many it has. */
  readonly tokens: number;
  /** Share of the samples; the weights of a mixture need not add up to 1. */
  readonly weight: number;
}

/** What decides where a sample begins. */
export interface SampleOptions {
  /** Equal seeds draw equal samples. */
  readonly seed: number;
  /** From 0. */
  readonly step: number;
  /** The sample's index in the global batch of the step. */
  readonly index: number;
  /** Samples of a step, over all workers. */
  readonly globalBatchSize: number;
  /** Samples of all steps before this one. Default: as many steps of this size; a run that was resumed with another size has others. */
  readonly samplesBefore?: number;
  /** Tokens of a sample, but for the one after them that is its last target. */
  readonly blockSize: number;
  /** The order. */
  readonly sampler: SamplerKind;
}

/** The first token of a sample, as an index in the training split. */
export function sampleStart(corpora: readonly CorpusShare[], options: SampleOptions): number {
  const { seed, step, index, globalBatchSize, samplesBefore = step * globalBatchSize, blockSize, sampler } = options;
  const turn = turnOf(corpora, samplesBefore + index);
  const corpus = corpora[turn.corpus]!;
  const before = corpora.slice(0, turn.corpus).reduce((sum, { tokens }) => sum + tokens, 0);
  const { tokens } = corpus;
  if (sampler === 'random') return before + windowStart({ seed, step, index, tokens, blockSize });
  return before + shuffledStart({ seed, corpus: turn.corpus, number: turn.number, tokens, blockSize });
}

export interface WindowStartOptions extends Pick<SampleOptions, 'seed' | 'step' | 'index' | 'blockSize'> {
  /** How many tokens there are; up to 2^52. */
  readonly tokens: number;
}

/** Where the sample's window starts: uniform over all starts that leave a target for every position. */
export function windowStart({ seed, step, index, tokens, blockSize }: WindowStartOptions): number {
  const starts = startsOf(tokens, blockSize);
  const key = randomKey(seed, randomStream, step);
  // 53 random bits: one start in 2^53/starts is favoured by one part in as many, 2^-21 even at 2^32 tokens.
  const high = randomBits(key, 2 * index);
  const low = randomBits(key, 2 * index + 1) >>> 11;
  return Math.floor((high * 2 ** 21 + low) * 2 ** -53 * starts);
}

export interface ShuffledStartOptions {
  readonly seed: number;
  /** Which corpus of the mixture. */
  readonly corpus: number;
  /** How many samples of this corpus came before, over the whole run. */
  readonly number: number;
  readonly tokens: number;
  readonly blockSize: number;
}

/** How many samples an epoch of `shuffled` has. */
export function windowsOfEpoch(tokens: number, blockSize: number): number {
  startsOf(tokens, blockSize);
  // One less than fits, so that every offset leaves room for as many windows.
  return Math.max(1, Math.floor(tokens / blockSize) - 1);
}

/**
 * Windows that do not overlap, in an order of the epoch's own, from an offset of the epoch's own: the borders between windows are
 * elsewhere the next time. An epoch leaves out less than two windows of tokens, at the ends, and other ones the next time.
 */
export function shuffledStart({ seed, corpus, number, tokens, blockSize }: ShuffledStartOptions): number {
  const windows = windowsOfEpoch(tokens, blockSize);
  const epoch = Math.floor(number / windows);
  const key = randomKey(seed, shuffledStream, corpus, epoch);
  // All that leave a target for the last token of the last window: over the epochs every token is trained on.
  const offsets = tokens - windows * blockSize;
  const offset = Math.floor(randomBits(key, 0) * 2 ** -32 * offsets);
  return offset + blockSize * permutation(windows, key).at(number % windows);
}

function startsOf(tokens: number, blockSize: number): number {
  const starts = tokens - blockSize;
  if (starts < 1) throw new InvariantError(`${tokens} tokens hold no window of ${blockSize} and its targets`);
  return starts;
}

/**
 * Which corpus a sample comes from, and how many samples of that corpus came before. Of the first n samples the first corpus, with the
 * share p, has n · p, rounded down, the second its share of those that are left, rounded down, and so on; the last has the rest. So
 * it takes no memory to count them, and of k corpora each has more than n · p − 1 and fewer than n · p + k − 1.
 */
export function turnOf(corpora: readonly CorpusShare[], sample: number): { corpus: number; number: number } {
  if (corpora.length === 1) return { corpus: 0, number: sample };
  invariant(sample < 2 ** 32, `a mixture has at most 2^32 samples, not ${sample}`);
  let weightLeft = corpora.reduce((sum, { weight }) => sum + weight, 0);
  let number = sample;
  for (const [corpus, { weight }] of corpora.entries()) {
    if (corpus === corpora.length - 1) return { corpus, number };
    const units = Math.round((weight / weightLeft) * weightUnits);
    const before = Math.floor((number * units) / weightUnits);
    if (Math.floor(((number + 1) * units) / weightUnits) > before) return { corpus, number: before };
    number -= before;
    weightLeft -= weight;
  }
  throw new InvariantError('a sample of no corpus');
}
