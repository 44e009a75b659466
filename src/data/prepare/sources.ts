/**
 * What `launch prepare` reads: files, by name or found in folders and by globs, or standard input; of each, how its bytes become
 * documents. A file's name says what it is: .jsonl and .ndjson hold one JSON object a line, .parquet a table, all others text; .gz and
 * .zst after that are compressed.
 */
import { stat } from 'node:fs/promises';
import { UserError } from '../../base/errors.ts';
import { ownCommand } from '../../base/ownCommand.ts';
import { standardInput } from '../../base/userPath.ts';
import { displayName, findFiles } from '../findFiles.ts';

export type SourceFormat = 'text' | 'jsonl' | 'parquet';
export type Compression = 'none' | 'gzip' | 'zstd';

export interface Source {
  /** Absolute; undefined is standard input. */
  readonly path: string | undefined;
  /** For messages, and for telling whether the same is prepared again. */
  readonly name: string;
  readonly format: SourceFormat;
  /** `sniff`: the first bytes say. */
  readonly compression: Compression | 'sniff';
  /** In bytes, as stored; 0 for standard input. */
  readonly size: number;
  /** 0 for standard input. */
  readonly mtimeMs: number;
}

/**
 * @param names as the user gave them
 * @param format overrides what the names of files say
 * @throws UserError for what is not there
 */
export async function findSources(
  names: readonly string[],
  { cwd, format }: { cwd: string; format?: SourceFormat | undefined },
): Promise<Source[]> {
  if (names.includes(standardInput)) {
    if (names.length > 1) throw new UserError('standard input (-) must be the only source');
    if (format === 'parquet')
      throw new UserError('a Parquet file is read from its end: give its name, not standard input');
    return [{ path: undefined, name: '-', format: format ?? 'text', compression: 'sniff', size: 0, mtimeMs: 0 }];
  }
  const paths = await findFiles(names, cwd, ownCommand('prepare'));
  return Promise.all(paths.map((path) => sourceOf(path, displayName(path, cwd), format)));
}

/** A file as a source. */
async function sourceOf(path: string, name: string, format?: SourceFormat): Promise<Source> {
  const { size, mtimeMs } = await stat(path).catch((error: Error) => {
    throw new UserError(`${name}: cannot be read (${error.message})`);
  });
  const [, stem = name, suffix] = /^(.*?)(?:\.(gz|gzip|zst|zstd))?$/i.exec(name) ?? [];
  const compression = suffix === undefined ? 'none' : suffix.toLowerCase().startsWith('g') ? 'gzip' : 'zstd';
  const found = format ?? formatOf(stem);
  if (found === 'parquet' && compression !== 'none') {
    throw new UserError(`${name}: a Parquet file is compressed inside; decompress this one first`);
  }
  return { path, name, format: found, compression, size, mtimeMs };
}

function formatOf(name: string): SourceFormat {
  if (/\.(jsonl|ndjson)$/i.test(name)) return 'jsonl';
  return /\.parquet$/i.test(name) ? 'parquet' : 'text';
}
