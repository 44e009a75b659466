/**
 * Reads a tokenizer.json that describes a byte-level byte-pair encoding: GPT-2's, one trained by Lockstep, or another program's in the
 * same form. The library reads all others (libraryTokenizer.ts).
 */
import { isDeepStrictEqual } from 'node:util';
import { UserError } from '../../base/errors.ts';
import { byteCharacters, preTokenizer } from './byteLevelFiles.ts';
import type { ByteLevelTables } from './byteLevelTables.ts';
import type { Splitting } from './preTokenizers.ts';
import { type BpeModel, endOfTextId, type TokenizerConfig, type TokenizerJson } from './tokenizerFiles.ts';

const splittings = ['gpt2', 'cl100k', 'o200k', 'none'] as const satisfies readonly Splitting[];
/** By UTF-16 unit, -1 for none; all characters are below U+0200. */
const byteOfUnit = new Int16Array(0x200).fill(-1);
for (const [byte, character] of byteCharacters.entries()) byteOfUnit[character.charCodeAt(0)] = byte;

/**
 * Undefined for another kind of tokenizer, or for settings that the tables do not support. Throws a UserError for a damaged file;
 * `where` is the file's folder.
 */
export function readByteLevel(
  json: TokenizerJson,
  config: TokenizerConfig,
  where: string,
): ByteLevelTables | undefined {
  const { model, added_tokens: added } = json;
  const splitting = splittingOf(json.pre_tokenizer);
  if (model.type !== 'BPE' || splitting === undefined || !isPlain(json, model)) return undefined;
  if (added.some(({ special }) => !special)) return undefined;
  const specialTokens = new Map(added.map(({ content, id }) => [content, id]));
  const tokens = tokensOf(model.vocab, specialTokens, where);
  const merges = mergesOf(model, where);
  return { splitting, tokens, merges, specialTokens, endOfText: endOfTextId(specialTokens, config) };
}

/** Whether the encoder supports everything in the file. */
function isPlain({ normalizer, decoder }: TokenizerJson, model: BpeModel): boolean {
  const {
    dropout,
    continuing_subword_prefix: prefix,
    end_of_word_suffix: suffix,
    byte_fallback,
    ignore_merges,
  } = model;
  const settings = dropout || prefix || suffix || byte_fallback || ignore_merges;
  return (normalizer ?? null) === null && typeOf(decoder) === 'ByteLevel' && !settings;
}

function splittingOf(json: unknown): Splitting | undefined {
  return splittings.find((splitting) => isDeepStrictEqual(withDefaults(json), preTokenizer(splitting)));
}

/** `trim_offsets` changes no tokens, and `use_regex` is optional. */
function withDefaults(json: unknown): unknown {
  if (typeOf(json) === 'ByteLevel') return { ...preTokenizer('gpt2'), ...(json as object), trim_offsets: true };
  if (typeOf(json) !== 'Sequence') return json;
  const { pretokenizers } = json as { pretokenizers?: unknown };
  return Array.isArray(pretokenizers)
    ? { ...(json as object), pretokenizers: pretokenizers.map((part) => withDefaults(part)) }
    : json;
}

function typeOf(json: unknown): unknown {
  return (json as { type?: unknown } | null | undefined)?.type;
}

function tokensOf(
  vocab: Readonly<Record<string, number>>,
  specialTokens: ReadonlyMap<string, number>,
  where: string,
): (Uint8Array | undefined)[] {
  const tokens: (Uint8Array | undefined)[] = [];
  let singles = 0;
  for (const [name, id] of Object.entries(vocab)) {
    if (specialTokens.get(name) === id) continue;
    const bytes = bytesOf(name);
    if (bytes === undefined) damaged(where, `the token ${JSON.stringify(name)} is not a string of bytes`);
    while (tokens.length <= id) tokens.push(undefined);
    if (tokens[id] !== undefined) damaged(where, `two tokens have the id ${id}`);
    tokens[id] = bytes;
    if (bytes.length === 1) singles++;
  }
  // Fewer than 256 are valid: a vocabulary trained without an initial alphabet has only the bytes of its text.
  if (singles === 0) damaged(where, 'it has no token for any single byte');
  return tokens;
}

function mergesOf({ vocab, merges }: BpeModel, where: string): [number, number, number][] {
  const ids = new Map(Object.entries(vocab));
  return merges.map((merge) => {
    const [left = '', right = ''] = typeof merge === 'string' ? merge.split(' ', 2) : merge;
    const [leftId, rightId, mergedId] = [ids.get(left), ids.get(right), ids.get(left + right)];
    if (leftId === undefined || rightId === undefined || mergedId === undefined) {
      damaged(where, `the merge ${JSON.stringify(merge)} is not of three of its tokens`);
    }
    return [leftId, rightId, mergedId];
  });
}

/** The bytes that a token's characters represent; undefined if one represents none. */
function bytesOf(name: string): Uint8Array | undefined {
  const bytes = new Uint8Array(name.length);
  for (let i = 0; i < name.length; i++) {
    const byte = byteOfUnit[name.charCodeAt(i)];
    if (byte === undefined || byte < 0) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

function damaged(where: string, reason: string): never {
  throw new UserError(
    `${where}/tokenizer.json: expected a byte-level byte-pair encoding, but ${reason}. The file is damaged.`,
  );
}
