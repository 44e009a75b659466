/** Paths as people type and configs hold them. */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { UserError } from './errors.ts';

/**
 * `~` and `~/x` mean the home folder, as in a shell, which leaves them as they are after a `=` and in files. All else stays.
 * @throws UserError for `~name`, another user's
 */
export function expandHome(path: string): string {
  if (path === '~' || path.startsWith('~/')) return join(homedir(), path.slice(1));
  if (!/^~[\w.-]*(\/|$)/.test(path)) return path;
  throw new UserError(
    `${path}: the home folder of another user is not looked up: give the whole path, or ./${path} for a file of that name`,
  );
}

/** Absolute; a relative path starts at `cwd`. @throws UserError for `~name` */
export function userPath(cwd: string, path: string): string {
  return resolve(cwd, expandHome(path));
}

/** The name of standard input, whatever the system; messages call it `-`. */
export const standardInput = '/dev/stdin';
