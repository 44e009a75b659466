import type { Splitting } from './preTokenizers.ts';

/** The tables of a byte-level tokenizer. */
export interface ByteLevelTables {
  readonly splitting: Splitting;
  /** The bytes of each ordinary token by id. Single bytes are among them: all 256, or those in the training text. An id may be unused. */
  readonly tokens: readonly (Uint8Array | undefined)[];
  /** Left, right, and their result; the first has the highest priority. */
  readonly merges: readonly (readonly [number, number, number])[];
  /** Id by text; separate from `tokens`. */
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly endOfText: number | undefined;
  /** Special tokens before every text. Default: none. */
  readonly beginTokens?: readonly number[];
  /** Tokens that end an answer besides `endOfText`. Default: none. */
  readonly endTokens?: readonly number[];
}
