/**
 * What a run learns from: two sequences of tokens, train and val. Of text they are made here, in memory, as nanoGPT's prepare.py makes
 * them: the first characters train, the last validate. Prepared data stays on the disk (shards/shardDataset.ts). Which windows are
 * drawn is sampleOrder.ts.
 */
import { createHash } from 'node:crypto';
import { UserError } from '../base/errors.ts';
import { type Corpus, readCorpus } from './corpus.ts';
import { embeddingRows } from './embeddingRows.ts';
import type { TrainingSplit } from './sampler.ts';
import { openShardDataset } from './shards/shardDataset.ts';
import type { TokenArray, TokenSequence } from './tokenArray.ts';
import { createTokenizer, type Tokenizer, type TokenizerKind } from './tokenizers/tokenizer.ts';
import { tokenizerHash } from './tokenizers/tokenizerHash.ts';

/** The `data` group of the config. */
export interface DataOptions {
  /** A file, folder or glob, a list of them, or `builtin`. */
  readonly text: string | readonly string[];
  /** Folders that `launch prepare` made, which take the place of `text`. Default none. */
  readonly shards?: string | readonly string[];
  /** Shares of the samples, one for each of `shards`; empty or absent: in proportion to their tokens. */
  readonly weights?: readonly number[];
  /** What turns it into tokens: a new one of this kind. */
  readonly tokenizer: TokenizerKind;
  /** Share of the characters, at the end, that validates. */
  readonly valFraction: number;
}

/** What else the data must fit. */
/** Two sequences of tokens, to train on and to validate with, and the tokenizer that made them. */
export interface DatasetOptions {
  /** Context length, in tokens. */
  readonly blockSize: number;
  /** Relative paths start here. */
  readonly cwd: string;
  /** Rows of the token embedding; 0 or absent takes the tokenizer's size. */
  readonly vocabSize?: number;
  /** The tokenizer of the checkpoint that is resumed. Absent: a new one of the kind that the config names. */
  readonly tokenizer?: Tokenizer;
  /** How messages call the setting that named the text. Default `data.text`. */
  readonly setting?: string;
  /** Called now and then while a long text is encoded, with the share that is done, from 0 to 1. */
  readonly onProgress?: (done: number) => void;
}

export interface Dataset extends TrainingSplit {
  /** What made the tokens, and makes text of them again. */
  readonly tokenizer: Tokenizer;
  /** Rows of the token embedding: at least the tokenizer's size. */
  readonly vocabSize: number;
  /** The validation split. */
  readonly val: TokenSequence;
  /** One line for people. */
  readonly description: string;
  /** Of the tokens of both splits, so that a resume notices that the text or its split has changed. Hexadecimal. */
  readonly sha256: string;
  /** Of the tokenizer's files. Hexadecimal. */
  readonly tokenizerSha256: string;
}

/**
 * Opens prepared data, or reads, encodes and splits a text.
 * @throws UserError for data that is missing, unreadable, too short, or beyond the vocabulary
 */
export async function openDataset(data: DataOptions, options: DatasetOptions): Promise<Dataset> {
  const { shards = [] } = data;
  if (shards.length > 0) return openShardDataset({ ...data, shards }, options);
  const setting = options.setting ?? 'data.text';
  const corpus = await readCorpus({ text: data.text, cwd: options.cwd, setting });
  const tokenizer = options.tokenizer ?? (await createTokenizer(data.tokenizer, corpus.text, { cwd: options.cwd }));
  const vocabSize = embeddingRows(tokenizer, options.vocabSize);

  const boundary = splitAt(corpus.text, data.valFraction);
  const progress = (from: number) => (units: number) => options.onProgress?.((from + units) / corpus.text.length);
  const train = await encodeInSlices(tokenizer, corpus.text.slice(0, boundary), progress(0));
  const val = await encodeInSlices(tokenizer, corpus.text.slice(boundary), progress(boundary));
  checkLengths({ setting, corpus, data, train, val, blockSize: options.blockSize });

  return {
    tokenizer,
    vocabSize,
    train,
    corpora: [{ tokens: train.length, weight: 1 }],
    val,
    description:
      `${corpus.name}: ${count(corpus.text.length)} characters, ${tokenizer.kind} tokenizer with ${count(tokenizer.vocabSize)} tokens, ` +
      `${count(train.length)} tokens to train on, ${count(val.length)} to validate`,
    sha256: hashTokens([train, val]),
    tokenizerSha256: tokenizerHash(tokenizer),
  };
}

/** nanoGPT's split point, moved back by one where it would cut a surrogate pair. */
function splitAt(text: string, valFraction: number): number {
  const boundary = Math.floor(text.length * (1 - valFraction));
  const splitsPair = boundary > 0 && (text.codePointAt(boundary - 1) ?? 0) > 0xffff;
  return splitsPair ? boundary - 1 : boundary;
}

/** Encodes and lets timers and sockets run between slices. */
async function encodeInSlices(
  tokenizer: Tokenizer,
  text: string,
  onProgress: (units: number) => void,
): Promise<TokenArray> {
  const steps = tokenizer.encodeSteps(text);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    onProgress(step.value);
    await new Promise((resume) => setImmediate(resume));
  }
}

interface Lengths {
  readonly setting: string;
  readonly corpus: Corpus;
  readonly data: DataOptions;
  readonly train: TokenArray;
  readonly val: TokenArray;
  readonly blockSize: number;
}

/** Training needs one whole window and the token after it; validation one token and the one after it. */
function checkLengths({ setting, corpus, data, train, val, blockSize }: Lengths): void {
  const numbers =
    `the text (${corpus.name}) has ${count(corpus.text.length)} characters, which give ${count(train.length)} tokens to train on ` +
    `and ${count(val.length)} to validate (data.valFraction: ${data.valFraction})`;
  if (train.length < blockSize + 1) {
    throw new UserError(
      `${setting} is too short: ${numbers}, but model.blockSize: ${blockSize} needs at least ${count(blockSize + 1)} tokens to train on. Give more text or a smaller model.blockSize.`,
    );
  }
  if (val.length < 2) {
    throw new UserError(
      `${setting} is too short: ${numbers}, but validation needs at least 2. Give more text or a larger data.valFraction.`,
    );
  }
}

function count(value: number): string {
  return value.toLocaleString('en');
}

/** Lengths first, so that moving the boundary changes the hash. */
function hashTokens(arrays: readonly TokenArray[]): string {
  const hash = createHash('sha256');
  hash.update(arrays.map((array) => `${array.BYTES_PER_ELEMENT}x${array.length}`).join());
  for (const array of arrays) hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return hash.digest('hex');
}
