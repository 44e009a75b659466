/**
 * Reads text as a whole into memory: the built-in text, a file, a folder, a glob, or a list of them. It only reads; splitting and
 * encoding are dataset.ts. What is too long for memory goes through `launch prepare` (prepare/). Every error is a UserError that says which file, what is wrong with it, and what to do.
 */
import { readFile, stat } from 'node:fs/promises';
import { messageOf, UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { displayName, findFiles } from './findFiles.ts';
import { preparedName } from './shards/shardManifest.ts';

/** JavaScript strings end at 2^29 - 24 units; this leaves room and is an hour of tokens for any CPU. */
const corpusBytesMax = 500_000_000;

export interface Corpus {
  readonly text: string;
  /** What it is, for people: `corpus (87 files)`. */
  readonly name: string;
  readonly fileCount: number;
}

export interface ReadCorpusOptions {
  /** `builtin`, a path, a glob, or a list of them. */
  readonly text: string | readonly string[];
  /** Relative paths start here. */
  readonly cwd: string;
  /** How messages call the setting. Default `data.text`. */
  readonly setting?: string;
}

/**
 * Reads all files of `text`, each once, those of one entry in the order of their paths, and joins them, each beginning on a line
 * of its own.
 */
export async function readCorpus({ text, cwd, setting = 'data.text' }: ReadCorpusOptions): Promise<Corpus> {
  const entries = typeof text === 'string' ? [text] : text;
  const paths = await findFiles(entries, cwd, setting);
  const parts: string[] = [];
  let bytesTotal = 0;
  for (const path of paths) {
    const { text: part, bytes } = await readText(path, displayName(path, cwd), corpusBytesMax - bytesTotal);
    bytesTotal += bytes;
    // Empty files are common in source folders; a text that is empty as a whole is an error below.
    if (part !== '') parts.push(part);
  }
  if (parts.length === 0) {
    throw new UserError(`${setting}: ${quoted(entries)} is empty. Give a file with text in it.`);
  }
  return { text: joined(parts), name: nameOf(entries, parts.length), fileCount: parts.length };
}

/** Joins without copying a single file, so that its text is exactly what the file holds. */
function joined(parts: readonly string[]): string {
  return parts.map((part, i) => (i + 1 < parts.length && !part.endsWith('\n') ? `${part}\n` : part)).join('');
}

async function readText(path: string, name: string, bytesLeft: number): Promise<{ text: string; bytes: number }> {
  let bytes: Buffer;
  try {
    const { size } = await stat(path);
    if (size > bytesLeft) throw tooLong(name);
    bytes = await readFile(path);
    if (bytes.length > bytesLeft) throw tooLong(name); // it grew, or the system does not know its size
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${name}: cannot be read (${messageOf(error)}).`);
  }
  const advice = 'Give text files in UTF-8; in a folder, select them with a glob such as corpus/**/*.txt.';
  const packed = compressionOf(bytes);
  if (packed !== undefined) {
    throw new UserError(
      `${name}: expected text, got ${packed}. Make tokens of it with \`${ownCommand('prepare', name, '--tokenizer', 'gpt2', '--out', preparedName(name))}\`, ` +
        `and train on them: \`${ownCommand('--set', `data.shards=${preparedName(name)}`, 'data.tokenizer=gpt2')}\`.`,
    );
  }
  const zero = bytes.indexOf(0);
  if (zero >= 0)
    throw new UserError(`${name}: expected text, got a binary file (a zero byte at offset ${zero}). ${advice}`);
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), bytes: bytes.length };
  } catch {
    throw new UserError(`${name}: expected text in UTF-8, got bytes that are not UTF-8. ${advice}`);
  }
}

/** By the first bytes, whatever the name: what `launch prepare` reads. */
function compressionOf(bytes: Buffer): string | undefined {
  const kinds = [
    ['1f8b08', 'a gzip file'],
    ['28b52ffd', 'a zstd file'],
    ['50415231', 'a Parquet file'],
  ] as const;
  return kinds.find(([magic]) => bytes.subarray(0, magic.length / 2).toString('hex') === magic)?.[1];
}

function tooLong(name: string): UserError {
  return new UserError(
    `${name}: with it the text has more than ${grouped(corpusBytesMax)} bytes, which is the most that fits in memory. Give less text.`,
  );
}

function quoted(entries: readonly string[]): string {
  return entries.length === 1 ? String(entries[0]) : `all of ${entries.join(', ')}`;
}

function nameOf(entries: readonly string[], fileCount: number): string {
  const shown = entries.length > 3 ? `${entries.slice(0, 3).join(', ')}, ...` : entries.join(', ');
  return fileCount === 1 ? shown : `${shown} (${fileCount} files)`;
}
