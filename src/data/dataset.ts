/**
 * Text to two arrays of tokens, train and val, as nanoGPT's prepare.py makes them: the first characters train, the last validate.
 * Everything is in memory. Which windows are drawn from the arrays is sampler.ts.
 */
import { createHash } from 'node:crypto';
import { UserError } from '../base/errors.ts';
import { type Corpus, readCorpus } from './corpus.ts';
import type { TokenArray } from './tokenArray.ts';
import { createTokenizer, type Tokenizer, type TokenizerKind } from './tokenizer.ts';

/** The `data` group of the config. */
export interface DataOptions {
  readonly text: string | readonly string[];
  readonly tokenizer: TokenizerKind;
  /** Share of the characters, at the end, that validates. */
  readonly valFraction: number;
}

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

export interface Dataset {
  readonly tokenizer: Tokenizer;
  /** Rows of the token embedding: at least the tokenizer's size. */
  readonly vocabSize: number;
  readonly train: TokenArray;
  readonly val: TokenArray;
  /** One line for people. */
  readonly description: string;
  /** Of the tokens of both splits, so that a resume notices that the text or its split has changed. Hexadecimal. */
  readonly sha256: string;
  /** Of the tokenizer's files. Hexadecimal. */
  readonly tokenizerSha256: string;
}

/** Reads, encodes and splits. Throws a UserError for text that is missing, unreadable, too short, or beyond the vocabulary. */
export async function openDataset(data: DataOptions, options: DatasetOptions): Promise<Dataset> {
  const setting = options.setting ?? 'data.text';
  const corpus = await readCorpus({ text: data.text, cwd: options.cwd, setting });
  const tokenizer = options.tokenizer ?? (await createTokenizer(data.tokenizer, corpus.text));
  const vocabSize = options.vocabSize || tokenizer.vocabSize;
  if (vocabSize < tokenizer.vocabSize) {
    throw new UserError(
      `model.vocabSize: expected 0 or at least ${tokenizer.vocabSize}, the size of the ${tokenizer.kind} tokenizer, got ${vocabSize}.`,
    );
  }

  const boundary = splitAt(corpus.text, data.valFraction);
  const progress = (from: number) => (units: number) => options.onProgress?.((from + units) / corpus.text.length);
  const train = await encodeInSlices(tokenizer, corpus.text.slice(0, boundary), progress(0));
  const val = await encodeInSlices(tokenizer, corpus.text.slice(boundary), progress(boundary));
  checkLengths({ setting, corpus, data, train, val, blockSize: options.blockSize });

  return {
    tokenizer,
    vocabSize,
    train,
    val,
    description:
      `${corpus.name}: ${count(corpus.text.length)} characters, ${tokenizer.kind} tokenizer with ${count(tokenizer.vocabSize)} tokens, ` +
      `${count(train.length)} tokens to train on, ${count(val.length)} to validate`,
    sha256: hashTokens([train, val]),
    tokenizerSha256: hashText(Object.entries(tokenizer.files()).sort().flat()),
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

function hashText(texts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(texts)).digest('hex');
}
