import type { Splitting } from './preTokenizers.ts';

/** The tables of a byte-level tokenizer. */
export interface ByteLevelTables {
  readonly splitting: Splitting;
  /** The bytes of each ordinary token by id, single ones among them: all 256, or those of the text that the vocabulary was trained on. An id may have none. */
  readonly tokens: readonly (Uint8Array | undefined)[];
  /** Left, right, and what they become; the first merges first. */
  readonly merges: readonly (readonly [number, number, number])[];
  /** Id by text; they are not among `tokens`. */
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly endOfText: number | undefined;
}
