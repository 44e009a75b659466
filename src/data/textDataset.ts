/**
 * A text as a run's dataset, made in memory as nanoGPT's prepare.py makes its own: the first characters train, the last validate.
 * Prepared data stays on the disk (shards/shardDataset.ts).
 */
import { createHash } from 'node:crypto';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { type Corpus, readCorpus } from './corpus.ts';
import type { DataOptions, Dataset, DatasetOptions } from './dataset.ts';
import { embeddingRows } from './embeddingRows.ts';
import type { TokenArray } from './tokenArray.ts';
import { createTokenizer } from './tokenizers/openTokenizer.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';
import { tokenizerHash } from './tokenizers/tokenizerHash.ts';

/**
 * Reads, encodes and splits a text.
 * @throws UserError for a text that is missing, unreadable, too short, or beyond the vocabulary
 */
export async function openTextDataset(data: DataOptions, options: DatasetOptions): Promise<Dataset> {
  const setting = options.setting ?? 'data.text';
  const corpus = await readCorpus({ text: data.text, cwd: options.cwd, setting });
  const tokenizer = options.tokenizer ?? (await createTokenizer(data.tokenizer, corpus.text, { cwd: options.cwd }));
  const vocabSize = embeddingRows(tokenizer, options.vocabSize);

  const boundary = splitAt(corpus.text, data.valFraction);
  const progress = (from: number) => (units: number) => options.onProgress?.((from + units) / corpus.text.length);
  const train = await encodeInSlices(tokenizer, corpus.text.slice(0, boundary), progress(0));
  const val = await encodeInSlices(tokenizer, corpus.text.slice(boundary), progress(boundary));
  const { blockSize } = options;
  if (blockSize !== undefined) checkLengths({ setting, corpus, data, train, val, blockSize });

  return {
    tokenizer,
    vocabSize,
    train,
    corpora: [{ tokens: train.length, weight: 1 }],
    val,
    description:
      `${corpus.name}: ${grouped(characterCount(corpus.text))} characters, ${tokenizer.kind} tokenizer with ${grouped(tokenizer.vocabSize)} tokens, ` +
      `${grouped(train.length)} tokens to train on, ${grouped(val.length)} to validate`,
    sha256: hashTokens([train, val]),
    tokenizerSha256: tokenizerHash(tokenizer),
  };
}

/** Code points: what a reader calls characters; a string counts some of them twice. */
function characterCount(text: string): number {
  let count = text.length;
  for (let i = 1; i < text.length; i++) {
    if (isHalf(text, i, 0xdc00) && isHalf(text, i - 1, 0xd800)) count--;
  }
  return count;
}

/** Whether the unit is the half of a surrogate pair that begins with these six bits. */
function isHalf(text: string, index: number, bits: 0xd800 | 0xdc00): boolean {
  return (text.charCodeAt(index) & 0xfc00) === bits;
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
    `the text (${corpus.name}) has ${grouped(characterCount(corpus.text))} characters, which give ${grouped(train.length)} tokens to train on ` +
    `and ${grouped(val.length)} to validate (data.valFraction: ${data.valFraction})`;
  if (train.length < blockSize + 1) {
    throw new UserError(
      `${setting} is too short: ${numbers}, but model.blockSize: ${blockSize} needs at least ${grouped(blockSize + 1)} tokens to train on. Give more text or a smaller model.blockSize.`,
    );
  }
  if (val.length < 2) {
    throw new UserError(
      `${setting} is too short: ${numbers}, but validation needs at least 2. Give more text or a larger data.valFraction.`,
    );
  }
}

/** Lengths first, so that moving the boundary changes the hash. */
function hashTokens(arrays: readonly TokenArray[]): string {
  const hash = createHash('sha256');
  hash.update(arrays.map((array) => `${array.BYTES_PER_ELEMENT}x${array.length}`).join());
  for (const array of arrays) hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return hash.digest('hex');
}
