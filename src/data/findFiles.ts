/**
 * Finds the files that a user names: the built-in text, a file, a folder, a glob, or a list of them. Every error is a UserError
 * with the problem and its solution.
 */
import { type Dirent, readdir } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { messageOf, UserError } from '../base/errors.ts';
import { settingText } from '../base/ownCommand.ts';
import { packageRoot } from '../base/packageRoot.ts';
import { expandHome } from '../base/userPath.ts';

/** The name by which users request the data in the package. */
const builtin = 'builtin';
/** Tiny Shakespeare; data/README.md gives its source. */
const builtinPath = join(packageRoot, 'data', 'tinyshakespeare.txt');

export interface FindFilesOptions {
  /** Relative paths start here. */
  readonly cwd: string;
  /** The name, in messages, of the setting that names the files. */
  readonly setting: string;
  /** What the files have, for messages. Default `text`. */
  readonly reads?: string | undefined;
  /** The file that `builtin` stands for. Default: the built-in text. */
  readonly builtinPath?: string | undefined;
}

/** The files of all entries, each once, the files of one entry in path order. */
export async function findFiles(entries: readonly string[], options: FindFilesOptions): Promise<string[]> {
  const paths = new Set<string>();
  for (const entry of entries) {
    // A link to a parent folder would list the same file many times under different paths.
    for (const path of await filesOf(entry, options)) paths.add(await realpath(path).catch(() => path));
  }
  return [...paths];
}

async function filesOf(
  given: string,
  { cwd, setting, reads = 'text', builtinPath: ownPath }: FindFilesOptions,
): Promise<string[]> {
  const entry = expandHome(given);
  if (entry === builtin) return [ownPath ?? builtinPath];
  const path = resolve(cwd, entry);
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'ENAMETOOLONG') return undefined;
    throw new UserError(`${setting}: ${entry} cannot be read (${messageOf(error)}).`);
  });
  if (found?.isFile()) return [path];
  if (found?.isDirectory()) {
    const files = await sortedGlob(['**/*'], path, setting);
    if (files.length > 0) return files;
    throw new UserError(`${setting}: the folder ${entry} has no files. Give a folder with files of ${reads} in it.`);
  }
  if (found) {
    throw new UserError(`${setting}: expected a file or a folder, but ${entry} is neither (a device or a pipe).`);
  }
  if (!isDynamicPattern(entry)) {
    // `builtin` also names the built-in text where rows are read, but it has none.
    const hasBuiltin = reads === 'text' || ownPath !== undefined;
    throw new UserError(
      `${setting}: there is no file or folder ${entry} in ${cwd}. Name your ${reads} with ${settingText(setting, 'PATH')} ` +
        `(a file, folder or glob)${hasBuiltin ? `; the built-in ${reads}, called builtin, ${reads === 'rows' ? 'are' : 'is'} always there` : ''}.`,
    );
  }
  const files = await sortedGlob([entry], cwd, setting);
  if (files.length > 0) return files;
  throw new UserError(
    `${setting}: no file matches ${entry} in ${cwd}. Give a glob that matches, such as corpus/**/*.txt.`,
  );
}

/** The signature of fs.readdir that the search uses. */
type ListFolder = (
  folder: string,
  options: { withFileTypes: true },
  callback: (error: NodeJS.ErrnoException | null, entries: Dirent[]) => void,
) => void;

/**
 * Absolute paths, sorted by code unit so that every machine has the same order, without hidden files and node_modules. An unreadable
 * folder is an error, because leaving it out would silently change the text.
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
  if (refused) throw new UserError(`${setting}: the folder ${refused.path} cannot be read (${messageOf(refused)}).`);
  return files.sort();
}

/** The path as a user would write it. */
export function displayName(path: string, cwd: string): string {
  if (path === builtinPath) return builtin;
  const shorter = relative(cwd, path);
  return isAbsolute(shorter) || shorter.startsWith('../../..') ? path : shorter;
}
