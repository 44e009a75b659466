/**
 * The tokens of a text as a model of its tokenizer expects it: `encode` gives those of the text alone. Models such as Llama have learned that
 * a begin token precedes each text.
 */

/** What this needs of a tokenizer (data/tokenizers/tokenizer.ts). */
export interface TextTokenizer {
  /** Ids of the special tokens that precede every text. Default: none. */
  readonly beginTokens?: readonly number[] | undefined;
  /** Plain text: nothing in it becomes a special token. */
  encode(text: string): ArrayLike<number>;
}

/** The begin tokens, then those of the text. @throws UserError for characters that the tokenizer cannot represent */
export function textTokens(tokenizer: TextTokenizer, text: string): number[] {
  return withBegin(tokenizer, Array.from(tokenizer.encode(text)));
}

/** The tokens with the begin tokens before them, unless they begin with these. */
export function withBegin({ beginTokens = [] }: Pick<TextTokenizer, 'beginTokens'>, tokens: number[]): number[] {
  return hasBegin(beginTokens, tokens) ? tokens : [...beginTokens, ...tokens];
}

/** The tokens without the begin tokens before them. */
export function withoutBegin(
  { beginTokens = [] }: Pick<TextTokenizer, 'beginTokens'>,
  tokens: readonly number[],
): readonly number[] {
  return hasBegin(beginTokens, tokens) ? tokens.slice(beginTokens.length) : tokens;
}

function hasBegin(beginTokens: readonly number[], tokens: readonly number[]): boolean {
  return beginTokens.every((token, index) => token === tokens[index]);
}
