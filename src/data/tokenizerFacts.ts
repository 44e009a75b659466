/** What can be told of any tokenizer from the files that it writes: its hash, and the token that ends a document. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Tokenizer } from './tokenizer.ts';

/** The token that ends a document, as GPT-2 and its successors call it. */
const endOfText = '<|endoftext|>';

const specialTokens = z.object({ added_tokens: z.array(z.object({ id: z.int().min(0), content: z.string() })) });

/** Names a tokenizer: equal files, equal hash. Lower-case hex. */
export function tokenizerSha256(tokenizer: Pick<Tokenizer, 'files'>): string {
  return createHash('sha256')
    .update(JSON.stringify(Object.entries(tokenizer.files()).sort().flat()))
    .digest('hex');
}

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

/** All of it at once: files of some megabytes are written and read for that. */
export function withFacts(tokenizer: Tokenizer): KnownTokenizer {
  const files = tokenizer.files();
  const parsed = specialTokens.safeParse(JSON.parse(files['tokenizer.json'] ?? '{}'));
  const special = parsed.data?.added_tokens.find(({ content }) => content === endOfText);
  return { tokenizer, facts: { files, sha256: tokenizerSha256({ files: () => files }), endOfText: special?.id } };
}
