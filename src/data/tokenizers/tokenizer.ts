/**
 * Text to token ids and back: the interface of every tokenizer; openTokenizer.ts creates them. A tokenizer writes itself as
 * files in Hugging Face's layout, so a checkpoint includes it and other libraries can read it.
 */
import type { TokenizerKind } from '../../base/tokenizerKind.ts';
import type { TokenArray } from '../tokenArray.ts';

/** Encoding in slices: yields the number of UTF-16 units done, returns the tokens. */
export type EncodeSteps = Generator<number, TokenArray, void>;

/** Text to tokens and back. */
export interface Tokenizer {
  /** Its name in a config. */
  readonly kind: TokenizerKind;
  /** Ids are 0 .. vocabSize - 1; some may be unused. */
  readonly vocabSize: number;
  /** The end-of-document token; undefined if the vocabulary has none. */
  readonly endOfText: number | undefined;
  /** Ids of the special tokens by name. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /**
   * Ids of the special tokens that precede every text, such as Llama's `<s>`; task/textTokens.ts adds them. Default: none.
   */
  readonly beginTokens?: readonly number[] | undefined;
  /** Ids of tokens that end an answer besides `endOfText`, as a model's generation_config.json lists them. Default: none. */
  readonly endTokens?: readonly number[] | undefined;
  /** Encodes plain text, without begin tokens: nothing in it becomes a special token (specialTokens.ts handles those). Throws a UserError for characters it cannot represent. */
  encode(text: string): TokenArray;
  /** {@link encode} for long texts: the caller may show progress or let other work run between two slices. */
  encodeSteps(text: string): EncodeSteps;
  /** Incomplete UTF-8, and ids outside the vocabulary (a padded embedding has some), become U+FFFD. */
  decode(tokens: Iterable<number>): string;
  /** Decodes one token after another, holding back characters whose bytes are incomplete. */
  streamDecoder(): StreamDecoder;
  /** Files in Hugging Face's layout, by name: tokenizer.json, tokenizer_config.json and more. */
  files(): Record<string, string>;
}

/** Decodes tokens to text, one after another. */
export interface StreamDecoder {
  /** The text that `token` completes; may be empty. */
  push(token: number): string;
  /** The remaining text at the end. */
  flush(): string;
}
