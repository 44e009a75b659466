/**
 * Where a step's samples begin: pure functions of (seed, step, index in the global batch, number of earlier samples). Every worker
 * computes the same sample, for any number of workers and after any number of resumes; nothing is stored or consumed.
 *
 * `random` draws windows with replacement, like nanoGPT; `shuffled` takes every window of a corpus once per epoch. Several corpora
 * alternate in proportion to their weights. Rationale: docs/decisions/sampler.md.
 */
import { randomBits, randomKey } from '../base/counterRandom.ts';
import { InvariantError, invariant } from '../base/errors.ts';
import { permutation } from './permutation.ts';

/** Separate these random streams from others with the same seed. */
const randomStream = 0x73616d70;
const shuffledStream = 0x73687566;
/** Weights are multiples of 1 / weightUnits, so that products with a sample's number stay exact up to 2^32 samples. */
const weightUnits = 2 ** 20;

/** `random`: windows at random, with replacement. `shuffled`: every window once per epoch. */
export type SamplerKind = 'random' | 'shuffled';

/** One of the consecutive corpora in the training split. */
export interface CorpusShare {
  /** Its number of tokens. */
  readonly tokens: number;
  /** Its share of the samples; a mixture's weights need not sum to 1. */
  readonly weight: number;
}

/** The inputs that determine where a sample begins. */
export interface SampleOptions {
  /** Equal seeds draw equal samples. */
  readonly seed: number;
  /** Counted from 0. */
  readonly step: number;
  /** The sample's index in the global batch of the step. */
  readonly index: number;
  /** Number of samples in a step, over all workers. */
  readonly globalBatchSize: number;
  /** Number of samples in all earlier steps. Default: this step's size in each; it differs if a run was resumed with another size. */
  readonly samplesBefore?: number;
  /** Number of tokens in a sample, without the one after them, which is its last target. */
  readonly blockSize: number;
  /** The sampling order. */
  readonly sampler: SamplerKind;
}

/** The index of a sample's first token in the training split. */
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
  /** Number of tokens, up to 2^52. */
  readonly tokens: number;
}

/** Start of the sample's window, uniform over all starts that leave a target for every position. */
export function windowStart({ seed, step, index, tokens, blockSize }: WindowStartOptions): number {
  const starts = startsOf(tokens, blockSize);
  const key = randomKey(seed, randomStream, step);
  // With 53 random bits, no start is favoured by more than a factor 1 + starts/2^53: 1 + 2^-21 even for 2^32 tokens.
  const high = randomBits(key, 2 * index);
  const low = randomBits(key, 2 * index + 1) >>> 11;
  return Math.floor((high * 2 ** 21 + low) * 2 ** -53 * starts);
}

export interface ShuffledStartOptions {
  readonly seed: number;
  /** Index of the corpus in the mixture. */
  readonly corpus: number;
  /** Number of earlier samples from this corpus, over the entire run. */
  readonly number: number;
  readonly tokens: number;
  readonly blockSize: number;
}

/** Number of samples in an epoch of `shuffled`. */
export function windowsOfEpoch(tokens: number, blockSize: number): number {
  startsOf(tokens, blockSize);
  // One less than fit, so that every offset leaves room for the same number of windows.
  return Math.max(1, Math.floor(tokens / blockSize) - 1);
}

/**
 * Non-overlapping windows, in an order and from an offset that change with every epoch, so that the boundaries between windows move.
 * Each epoch leaves out fewer than two windows of tokens, at the ends, and different ones each time.
 */
export function shuffledStart({ seed, corpus, number, tokens, blockSize }: ShuffledStartOptions): number {
  const windows = windowsOfEpoch(tokens, blockSize);
  const epoch = Math.floor(number / windows);
  const key = randomKey(seed, shuffledStream, corpus, epoch);
  // All offsets that leave a target for the last token: over the epochs, every token is trained on.
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
 * The corpus of a sample, and the number of earlier samples from that corpus. The first corpus, with share p, gets n · p of the first
 * n samples, rounded down; the second gets its share of the rest, rounded down, and so on; the last corpus gets the remainder. No
 * counters are needed, and each of k corpora has more than n · p − 1 and fewer than n · p + k − 1 samples.
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
