/**
 * The names of tokenizers in `data.tokenizer`. The config checks them and the data layer uses them. Neither imports the
 * other, so their shared definitions are here.
 */

/** `bpe:8000` is trained on the corpus. A name with a `/`, or that ends in `.json`, is a tokenizer.json or a folder that contains one. */
export type TokenizerKind =
  | 'char'
  | 'byte'
  | PublishedTokenizer
  | `bpe:${number}`
  | `${string}/${string}`
  | `${string}.json`;

/** Encodings with published vocabularies, which are installed. */
export type PublishedTokenizer = 'gpt2' | 'cl100k' | 'o200k';

/** A parsed name. */
export type TokenizerSpec =
  | { readonly type: 'char' | 'byte' | PublishedTokenizer }
  | { readonly type: 'bpe'; readonly vocabSize: number }
  | { readonly type: 'file'; readonly path: string };

/** All 256 bytes and `<|endoftext|>`, no merges. */
export const bpeSizeMin = 257;
export const bpeSizeMax = 1_000_000;

/** For messages: `expected …`. */
export const expectedTokenizer = `one of char, byte, gpt2, cl100k, o200k, bpe:N with N from ${bpeSizeMin} to ${bpeSizeMax} tokens, or the path of a tokenizer.json or its folder (with a / in it)`;

/** Undefined if the text does not name a tokenizer. */
export function parseTokenizerKind(name: string): TokenizerSpec | undefined {
  if (name === 'char' || name === 'byte' || name === 'gpt2' || name === 'cl100k' || name === 'o200k') {
    return { type: name };
  }
  const size = /^bpe:(\d{1,9})$/.exec(name)?.[1];
  if (size !== undefined) {
    const vocabSize = Number(size);
    return vocabSize >= bpeSizeMin && vocabSize <= bpeSizeMax ? { type: 'bpe', vocabSize } : undefined;
  }
  return /[/\\]|\.json$/.test(name) ? { type: 'file', path: name } : undefined;
}

export function isTokenizerKind(name: string): name is TokenizerKind {
  return parseTokenizerKind(name) !== undefined;
}
