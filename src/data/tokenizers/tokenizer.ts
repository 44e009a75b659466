/**
 * Text to token ids and back: the one interface that every tokenizer has; openTokenizer.ts makes them. A tokenizer writes itself as
 * files in Hugging Face's layout, so a checkpoint carries it and other libraries read it.
 */
import type { TokenizerKind } from '../../base/tokenizerKind.ts';
import type { TokenArray } from '../tokenArray.ts';

/** Encoding in slices: yields how many UTF-16 units of the text are done, returns the tokens. */
export type EncodeSteps = Generator<number, TokenArray, void>;

/** Text to tokens and back. */
export interface Tokenizer {
  /** As the config names it. */
  readonly kind: TokenizerKind;
  /** Ids are 0 .. vocabSize - 1; not all of them need to be in use. */
  readonly vocabSize: number;
  /** The token that ends a document; undefined where the vocabulary has none. */
  readonly endOfText: number | undefined;
  /** Ids of the special tokens by name. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /** Plain text only: nothing in it becomes a special token (specialTokens.ts is for those who want them). Throws a UserError for characters it cannot represent. */
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

/** Tokens to text, one after another. */
export interface StreamDecoder {
  /** The text that `token` completes; may be empty. */
  push(token: number): string;
  /** What is left at the end. */
  flush(): string;
}
