/** The facts kept about a tokenizer beside its tokens: its files, its hash, and the end-of-document token. */
import type { Tokenizer } from './tokenizer.ts';
import { definitionHash } from './tokenizerHash.ts';

export interface TokenizerFacts {
  readonly files: Readonly<Record<string, string>>;
  readonly sha256: string;
  /** The id of the end-of-document token; undefined for a tokenizer without one, such as a character tokenizer. */
  readonly endOfText: number | undefined;
}

export interface KnownTokenizer {
  readonly tokenizer: Tokenizer;
  readonly facts: TokenizerFacts;
}

/** Computed in one go, because it writes files of some megabytes. */
export function withFacts(tokenizer: Tokenizer): KnownTokenizer {
  const files = tokenizer.files();
  const { endOfText } = tokenizer;
  return { tokenizer, facts: { files, sha256: definitionHash(files['tokenizer.json'] ?? '', endOfText), endOfText } };
}
