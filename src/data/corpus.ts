/**
 * Finds and reads text: the built-in corpus, a file, a folder, a glob, or a list of them. It only reads; splitting and encoding are
 * dataset.ts. Every error is a UserError that says which file, what is wrong with it, and what to do.
 */
import { type Dirent, readdir } from 'node:fs';
import { readFile, realpath, stat } from 'node:fs/promises';
import { isAbsolute, relative, resolve } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { messageOf, UserError } from '../base/errors.ts';
import { packageRoot } from '../base/packageRoot.ts';

/** JavaScript strings end at 2^29 - 24 units; this leaves room and is an hour of tokens for any CPU. */
const corpusBytesMax = 500_000_000;

/** The project's own source and documentation, as the package ships them; what a build adds is not among them. */
const builtinPatterns = ['*.md', 'configs/*.yaml', 'docs/**/*.md', 'native/**/*.{c,cc,cpp,h,hpp}', 'src/**/*.ts'];

export interface Corpus {
  readonly text: string;
  /** What it is, for people: `builtin (87 files)`. */
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
  const paths = new Set<string>();
  for (const entry of entries) {
    // A link back into its own folder would give the same file many times under different paths.
    for (const path of await filesOf(entry, cwd, setting)) paths.add(await realpath(path).catch(() => path));
  }

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

async function filesOf(entry: string, cwd: string, setting: string): Promise<string[]> {
  if (entry === 'builtin') return sortedGlob(builtinPatterns, packageRoot, setting);
  const path = resolve(cwd, entry);
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'ENAMETOOLONG') return undefined;
    throw new UserError(`${setting}: ${entry} cannot be read (${error.message}).`);
  });
  if (found?.isFile()) return [path];
  if (found?.isDirectory()) {
    const files = await sortedGlob(['**/*'], path, setting);
    if (files.length > 0) return files;
    throw new UserError(`${setting}: the folder ${entry} has no files. Give a folder with text files in it.`);
  }
  if (found) {
    throw new UserError(`${setting}: expected a file or a folder, but ${entry} is neither (a device or a pipe).`);
  }
  if (!isDynamicPattern(entry)) {
    throw new UserError(
      `${setting}: there is no file or folder ${entry} in ${cwd}. Name your text with ${setting === 'data.text' ? '--set data.text=PATH' : `${setting} PATH`} ` +
        '(a file, folder or glob); the built-in text, called builtin, is always there.',
    );
  }
  const files = await sortedGlob([entry], cwd, setting);
  if (files.length > 0) return files;
  throw new UserError(
    `${setting}: no file matches ${entry} in ${cwd}. Give a glob that matches, such as corpus/**/*.txt.`,
  );
}

/** The form of fs.readdir that the search for files uses. */
type ListFolder = (
  folder: string,
  options: { withFileTypes: true },
  callback: (error: NodeJS.ErrnoException | null, entries: Dirent[]) => void,
) => void;

/**
 * Absolute paths, sorted by code unit so that every machine has the same order. Hidden files and node_modules are left out. A
 * folder that may not be read is an error: without it the text would be another one, and nobody would know.
 */
async function sortedGlob(patterns: readonly string[], cwd: string, setting: string): Promise<string[]> {
  let refused: NodeJS.ErrnoException | undefined;
  const list: ListFolder = (folder, options, callback) =>
    readdir(folder, options, (error, entries) => {
      if (error?.code === 'EACCES' || error?.code === 'EPERM') refused ??= error;
      callback(error, entries);
    });
  const ignore = ['**/node_modules/**'];
  const files = await glob([...patterns], {
    cwd,
    absolute: true,
    onlyFiles: true,
    ignore,
    fs: { readdir: list as typeof readdir },
  });
  if (refused) throw new UserError(`${setting}: the folder ${refused.path} cannot be read (${refused.message}).`);
  return files.sort();
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
  const zero = bytes.indexOf(0);
  if (zero >= 0)
    throw new UserError(`${name}: expected text, got a binary file (a zero byte at offset ${zero}). ${advice}`);
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), bytes: bytes.length };
  } catch {
    throw new UserError(`${name}: expected text in UTF-8, got bytes that are not UTF-8. ${advice}`);
  }
}

function tooLong(name: string): UserError {
  return new UserError(
    `${name}: with it the text has more than ${corpusBytesMax.toLocaleString('en')} bytes, which is the most that fits in memory. Give less text.`,
  );
}

function displayName(path: string, cwd: string): string {
  const shorter = relative(cwd, path);
  return isAbsolute(shorter) || shorter.startsWith('../../..') ? path : shorter;
}

function quoted(entries: readonly string[]): string {
  return entries.length === 1 ? String(entries[0]) : `all of ${entries.join(', ')}`;
}

function nameOf(entries: readonly string[], fileCount: number): string {
  const shown = entries.length > 3 ? `${entries.slice(0, 3).join(', ')}, ...` : entries.join(', ');
  return fileCount === 1 ? shown : `${shown} (${fileCount} files)`;
}
