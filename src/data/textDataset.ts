/**
 * Makes a text into a run's dataset in memory, like nanoGPT's prepare.py: the first characters train, the last validate.
 * Prepared data stays on disk (shards/shardDataset.ts).
 */
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { shellWord } from '../base/shellWord.ts';
import { userPath } from '../base/userPath.ts';
import { type Corpus, readCorpus } from './corpus.ts';
import type { DataOptions, Dataset, DatasetOptions } from './dataset.ts';
import { embeddingRows } from './embeddingRows.ts';
import { encodeDocument, encodeInSlices, hashTokens } from './encodeText.ts';
import { isPreparedFolder } from './shards/shardManifest.ts';
import type { TokenArray, TokenSequence } from './tokenArray.ts';
import { createTokenizer } from './tokenizers/openTokenizer.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';
import { tokenizerHash } from './tokenizers/tokenizerHash.ts';
import { findValidation, textOptions, type Validation, withValidation } from './validation.ts';

/**
 * Reads, encodes and splits a text.
 * @throws UserError for a text that is missing, unreadable, too short, or outside the vocabulary
 */
export async function openTextDataset(data: DataOptions, options: DatasetOptions): Promise<Dataset> {
  const setting = options.setting ?? 'data.text';
  const { cwd, onNotice } = options;
  await refusePrepared(data.text, cwd, setting);
  const corpus = await readCorpus({ ...textOptions(data), text: data.text, cwd, setting, onNotice });
  const validation = await findValidation(data, options);
  const tokenizer = options.tokenizer ?? (await tokenizerOf(data, cwd, corpus, validation));
  const vocabSize = embeddingRows(tokenizer, options.vocabSize);

  const boundary = validation === undefined ? splitAt(corpus.text, data.valFraction) : corpus.text.length;
  const progress = (from: number) => (units: number) => options.onProgress?.((from + units) / corpus.text.length);
  const train = await encodeDocument(tokenizer, corpus.text.slice(0, boundary), progress(0));
  const own = await validation?.open(tokenizer);
  const end = own ? undefined : await encodeInSlices(tokenizer, corpus.text.slice(boundary), progress(boundary));
  const val = own?.tokens ?? end!;
  const { blockSize, validates = true } = options;
  if (blockSize !== undefined) checkLengths({ setting, corpus, data, train, val, blockSize, validates });

  return {
    tokenizer,
    vocabSize,
    train,
    corpora: [{ tokens: train.length, weight: 1 }],
    val,
    description:
      `${corpus.name}: ${grouped(characterCount(corpus.text))} characters, ${tokenizer.kind} tokenizer with ${grouped(tokenizer.vocabSize)} tokens, ` +
      `${grouped(train.length)} tokens to train on, ${grouped(val.length)} to validate${validation ? ` (${validation.name})` : ''}`,
    normalised: corpus.normalised + (validation?.normalised ?? 0),
    sha256: own ? withValidation(hashTokens([train]), own.sha256) : hashTokens([train, end!]),
    tokenizerSha256: tokenizerHash(tokenizer),
  };
}

/** A character tokenizer needs the validation text's characters too; the others are made from the training text and encode any text. */
function tokenizerOf(
  data: DataOptions,
  cwd: string,
  corpus: Corpus,
  validation: Validation | undefined,
): Promise<Tokenizer> {
  const isOfBoth = data.tokenizer === 'char' && validation?.text !== undefined;
  return createTokenizer(data.tokenizer, isOfBoth ? [corpus.text, validation.text!] : corpus.text, { cwd });
}

/** The files hold tokens, which make no sense as text. */
async function refusePrepared(text: DataOptions['text'], cwd: string, setting: string): Promise<void> {
  for (const name of [text].flat()) {
    if (!(await isPreparedFolder(userPath(cwd, name)))) continue;
    const option = setting.startsWith('data.') ? `: ${shellWord(`data.shards=${name}`)} trains on it` : '';
    throw new UserError(
      `${setting}: expected text, received ${name}, which \`${ownCommand('prepare')}\` made${option}.`,
    );
  }
}

/** Code points, which readers call characters; JavaScript strings count some of them twice. */
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

/** nanoGPT's split point, moved back by one if it would cut a surrogate pair. */
function splitAt(text: string, valFraction: number): number {
  const boundary = Math.floor(text.length * (1 - valFraction));
  const splitsPair = boundary > 0 && (text.codePointAt(boundary - 1) ?? 0) > 0xffff;
  return splitsPair ? boundary - 1 : boundary;
}

interface Lengths {
  readonly setting: string;
  readonly corpus: Corpus;
  readonly data: DataOptions;
  readonly train: TokenArray;
  readonly val: TokenSequence;
  readonly blockSize: number;
  readonly validates: boolean;
}

/** Training needs one full window and the token after it; validation needs one token and the one after it. */
function checkLengths({ setting, corpus, data, train, val, blockSize, validates }: Lengths): void {
  const numbers =
    `the text (${corpus.name}) has ${grouped(characterCount(corpus.text))} characters, which give ${grouped(train.length)} tokens to train on ` +
    `and ${grouped(val.length)} to validate (data.valFraction: ${data.valFraction})`;
  if (train.length < blockSize + 1) {
    throw new UserError(
      `${setting} is too short: ${numbers}, but model.blockSize: ${blockSize} needs at least ${grouped(blockSize + 1)} tokens to train on. Give more text or a smaller model.blockSize.`,
    );
  }
  if (validates && val.length < 2) {
    throw new UserError(
      `${setting} is too short: ${numbers}, but validation needs at least 2. Give more text, a larger data.valFraction, a text of its own (data.validation), or set eval.everySteps=0.`,
    );
  }
}
