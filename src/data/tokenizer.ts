/**
 * Text to token ids and back: the one interface that every tokenizer has, and the ways to get one. A tokenizer writes itself as
 * files in Hugging Face's layout, so a checkpoint carries it and other libraries read it.
 */
import { UserError } from '../base/errors.ts';
import { CharTokenizer } from './charTokenizer.ts';
import { loadGpt2Tokenizer } from './gpt2Tokenizer.ts';
import type { TokenArray } from './tokenArray.ts';
import { parseTokenizerJson } from './tokenizerFiles.ts';

export type TokenizerKind = 'char' | 'gpt2';

/** Encoding in slices: yields how many UTF-16 units of the text are done, returns the tokens. */
export type EncodeSteps = Generator<number, TokenArray, void>;

export interface Tokenizer {
  readonly kind: TokenizerKind;
  /** Ids are 0 .. vocabSize - 1. */
  readonly vocabSize: number;
  /** The token that ends a document; undefined where the vocabulary has none. */
  readonly endOfText: number | undefined;
  /** Plain text only: nothing in it becomes a special token. Throws a UserError for characters it cannot represent. */
  encode(text: string): TokenArray;
  /** {@link encode} for long texts: the caller may show progress or let other work run between two slices. */
  encodeSteps(text: string): EncodeSteps;
  /** Bytes that are not whole UTF-8, and ids outside the vocabulary (a padded embedding has some), become U+FFFD. */
  decode(tokens: Iterable<number>): string;
  /** Decodes one token after another, holding back characters of which only some bytes have come. */
  streamDecoder(): StreamDecoder;
  /** Files in Hugging Face's layout, by name: tokenizer.json, tokenizer_config.json and more. */
  files(): Record<string, string>;
}

export interface StreamDecoder {
  /** The text that `token` completes; may be empty. */
  push(token: number): string;
  /** What is left at the end. */
  flush(): string;
}

/** A new tokenizer; `corpusText` decides the vocabulary of a `char` one and is not used by `gpt2`. */
export async function createTokenizer(kind: TokenizerKind, corpusText: string): Promise<Tokenizer> {
  switch (kind) {
    case 'char':
      return CharTokenizer.fromText(corpusText);
    case 'gpt2':
      return loadGpt2Tokenizer();
    default:
      return kind satisfies never;
  }
}

/**
 * The tokenizer that wrote `files` (of a checkpoint). Throws a UserError if they are damaged or describe a tokenizer that this
 * version does not have; `where` names their folder in the message.
 */
export async function tokenizerFromFiles(
  files: Readonly<Record<string, string>>,
  where = 'checkpoint',
): Promise<Tokenizer> {
  const parsed = parseTokenizerJson(files['tokenizer.json'], where);
  if (parsed.pre_tokenizer?.type === 'Split') return CharTokenizer.fromJson(parsed, where);
  if (parsed.pre_tokenizer?.type === 'ByteLevel') {
    const tokenizer = await loadGpt2Tokenizer();
    tokenizer.verify(parsed, where);
    return tokenizer;
  }
  throw new UserError(
    `${where}/tokenizer.json: expected a character or a GPT-2 tokenizer, got another kind, which this version does not have.`,
  );
}
