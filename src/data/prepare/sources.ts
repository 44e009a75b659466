/**
 * The inputs of `launch prepare` and `data.text`: files, given by name or found in folders and by globs, or standard input, and how the
 * bytes of each become documents. fileKinds.ts has the formats and how to recognise them.
 */
import { open, stat } from 'node:fs/promises';
import { UserError } from '../../base/errors.ts';
import { ownCommand, settingText } from '../../base/ownCommand.ts';
import { readFailure } from '../../base/strictJson.ts';
import { standardInput } from '../../base/userPath.ts';
import { displayName, findFiles } from '../findFiles.ts';
import { byteStream } from './byteStream.ts';
import { prepareFields } from './fields.ts';
import { compressionOf, recognise, type SourceFormat } from './fileKinds.ts';
import type { Source } from './source.ts';

/** Number of a file's first bytes used to determine its format. */
const headBytes = 2 ** 16;
/** Maximum number of files open at a time while determining their formats. */
const openMost = 32;
/** Maximum number of notices about single files. */
const noticesMost = 10;

export interface FindOptions {
  /** The folder that relative paths start from. */
  readonly cwd: string;
  /** Overrides the format implied by names and content. */
  readonly format?: SourceFormat | undefined;
  /** The name, in messages, of the setting that names the sources. Default `launch prepare`. */
  readonly setting?: string;
  /** What the files have, for messages: `rows`. Default `text`. */
  readonly reads?: string;
  /** The file that `builtin` stands for. Default: the built-in text. */
  readonly builtinPath?: string | undefined;
  /** Called for each file whose content contradicts its name. */
  readonly onNotice?: (line: string) => void;
}

/**
 * The files of all names, or standard input.
 * @param names as given by the user
 * @throws UserError for missing files and unsupported formats
 */
export async function findSources(names: readonly string[], options: FindOptions): Promise<Source[]> {
  const { cwd, format, setting = ownCommand('prepare'), reads, builtinPath, onNotice = () => undefined } = options;
  if (names.includes(standardInput)) {
    if (names.length > 1) throw new UserError('standard input (-) must be the only source');
    if (format === 'parquet')
      throw new UserError('a Parquet file is read from its end: give its name, not standard input');
    return [{ path: undefined, name: '-', format: format ?? 'text', compression: 'sniff', size: 0, mtimeMs: 0 }];
  }
  const paths = await findFiles(names, { cwd, setting, reads, builtinPath });
  const sources: Source[] = [];
  const notices: string[] = [];
  for (let from = 0; from < paths.length; from += openMost) {
    const some = paths.slice(from, from + openMost);
    const found = await Promise.all(some.map((path) => sourceOf(path, displayName(path, cwd), format)));
    for (const { source, notice } of found) {
      sources.push(source);
      if (notice !== undefined) notices.push(notice);
    }
  }
  for (const notice of notices.slice(0, noticesMost)) onNotice(notice);
  if (notices.length > noticesMost) onNotice(`the same for ${notices.length - noticesMost} more files`);
  return sources;
}

async function sourceOf(
  path: string,
  name: string,
  format: SourceFormat | undefined,
): Promise<{ source: Source; notice?: string | undefined }> {
  const { size, mtimeMs } = await stat(path).catch((error: unknown) => {
    throw readFailure(name, error);
  });
  const stored = await storedHead(path, name);
  const { notice, ...kind } = recognise({
    name,
    format,
    stored,
    ...(await headOf({ path, name, size, mtimeMs }, stored)),
  });
  return { source: { path, name, size, mtimeMs, ...kind }, notice };
}

async function storedHead(path: string, name: string): Promise<Uint8Array> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw readFailure(name, error);
  });
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(headBytes), 0, headBytes, 0);
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    throw readFailure(name, error);
  } finally {
    await handle.close();
  }
}

/** The beginning of the content. Decompression errors are reported when the file is read. */
async function headOf(
  file: Omit<Source, 'format' | 'compression'>,
  stored: Uint8Array,
): Promise<{ head: Uint8Array; isAll: boolean }> {
  const compression = compressionOf(stored);
  if (compression === 'none') return { head: stored, isAll: stored.length < headBytes };
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of byteStream(
      { ...file, format: 'text', compression },
      { from: 0, fields: prepareFields('') },
    )) {
      parts.push(part);
      length += part.length;
      if (length >= headBytes) break;
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
  return { head: Buffer.concat(parts).subarray(0, headBytes), isAll: length < headBytes };
}

/** Options about fields, by the names that the user used, if given. */
export interface FieldOptions {
  readonly options: readonly string[];
  /** The setting for the sources' format: `--format`. */
  readonly formatOption: string;
}

/** @throws UserError if an option was given that none of the sources can use */
export function checkFieldOptions(sources: readonly Source[], { options, formatOption }: FieldOptions): void {
  const [option] = options;
  if (option === undefined || sources.some(({ format }) => format !== 'text')) return;
  const names = sources.slice(0, 3).map(({ name }) => (name === '-' ? 'standard input' : name));
  const more = sources.length > names.length ? `, and ${sources.length - names.length} more` : '';
  throw new UserError(
    `${option}: the sources are read as text, which has no fields (${names.join(', ')}${more}). Leave it out, or say which format they have, as in ${settingText(formatOption, 'jsonl')}`,
  );
}
