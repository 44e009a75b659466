/** What is kept of a tokenizer beside the tokens that it made: its files, its hash, and the token that ends a document. */
import type { Tokenizer } from './tokenizer.ts';
import { definitionHash } from './tokenizerHash.ts';

export interface TokenizerFacts {
  readonly files: Readonly<Record<string, string>>;
  readonly sha256: string;
  /** The id of the end-of-text token; undefined for a tokenizer that has none, such as one of characters. */
  readonly endOfText: number | undefined;
}

export interface KnownTokenizer {
  readonly tokenizer: Tokenizer;
  readonly facts: TokenizerFacts;
}

/** All of it at once: files of some megabytes are written for that. */
export function withFacts(tokenizer: Tokenizer): KnownTokenizer {
  const files = tokenizer.files();
  const { endOfText } = tokenizer;
  return { tokenizer, facts: { files, sha256: definitionHash(files['tokenizer.json'] ?? '', endOfText), endOfText } };
}
