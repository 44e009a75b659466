/**
 * Writes a byte-level tokenizer as files that Hugging Face's libraries read. Like GPT-2, tokenizer.json represents a byte by one
 * printable character.
 */
import type { ByteLevelTables } from './byteLevelTables.ts';
import type { Splitting } from './preTokenizers.ts';
import { cl100kPattern, o200kPattern } from './tiktokenPreTokenizers.ts';
import { addedToken } from './tokenizerFiles.ts';

/** GPT-2 represents a byte by itself if that is a visible Latin-1 character, otherwise by the next free character from U+0100 on. */
export const byteCharacters: readonly string[] = (() => {
  let nextFree = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const visible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    return String.fromCodePoint(visible ? byte : nextFree++);
  });
})();

/** The names of all files that {@link byteLevelFiles} may write. */
export const byteLevelFileNames: readonly string[] = [
  ...['tokenizer.json', 'vocab.json', 'merges.txt'],
  ...['tokenizer_config.json', 'special_tokens_map.json'],
];

/** The files by name. GPT-2's splitting adds the files of its slow loader (vocab.json, merges.txt). */
export function byteLevelFiles(tables: ByteLevelTables): Record<string, string> {
  const names = new Map<number, string>();
  for (const [id, bytes] of tables.tokens.entries()) {
    if (bytes !== undefined) names.set(id, Array.from(bytes, (byte) => byteCharacters[byte]).join(''));
  }
  for (const [text, id] of tables.specialTokens) names.set(id, text);
  const vocab = Object.fromEntries([...names].map(([id, name]) => [name, id]));
  const merges = tables.merges.map(([left, right]) => `${names.get(left)} ${names.get(right)}`);
  const end = tables.endOfText === undefined ? undefined : names.get(tables.endOfText);
  const special = end === undefined ? {} : { bos_token: end, eos_token: end, unk_token: end };
  const isGpt2 = tables.splitting === 'gpt2';
  const config = {
    tokenizer_class: isGpt2 ? 'GPT2Tokenizer' : 'PreTrainedTokenizerFast',
    add_prefix_space: false,
    ...special,
    clean_up_tokenization_spaces: false,
  };
  return {
    'tokenizer.json': JSON.stringify(tokenizerJson(tables, vocab, merges)),
    ...(isGpt2 && { 'vocab.json': JSON.stringify(vocab), 'merges.txt': `#version: 0.2\n${merges.join('\n')}\n` }),
    'tokenizer_config.json': `${JSON.stringify(config, undefined, 2)}\n`,
    'special_tokens_map.json': `${JSON.stringify(special, undefined, 2)}\n`,
  };
}

function tokenizerJson(tables: ByteLevelTables, vocab: Record<string, number>, merges: readonly string[]): object {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...tables.specialTokens].map(addedToken),
    normalizer: null,
    pre_tokenizer: preTokenizer(tables.splitting),
    post_processor: { ...byteLevel, trim_offsets: false },
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges,
    },
  };
}

/** The pre-tokenizer as described in tokenizer.json. */
export function preTokenizer(splitting: Splitting): object {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: splitting === 'gpt2' };
  if (splitting === 'gpt2' || splitting === 'none') return byteLevel;
  const Regex = { cl100k: cl100kPattern, o200k: o200kPattern }[splitting];
  const split = { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false };
  return { type: 'Sequence', pretokenizers: [split, byteLevel] };
}
