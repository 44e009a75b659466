/** Paths as written by people and in configs. */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { UserError } from './errors.ts';

/**
 * Expands `~` and `~/x` to the home folder, like a shell, which does not expand them after `=` and in files. Other paths are unchanged.
 * @throws UserError for `~name`, another user's
 */
export function expandHome(path: string): string {
  if (path === '~' || path.startsWith('~/')) return join(homedir(), path.slice(1));
  if (!/^~[\w.-]*(\/|$)/.test(path)) return path;
  throw new UserError(
    `${path}: cannot look up the home folder of another user; give the full path, or ./${path} for a file of that name`,
  );
}

/** Absolute; a relative path starts at `cwd`. @throws UserError for `~name` */
export function userPath(cwd: string, path: string): string {
  return resolve(cwd, expandHome(path));
}

/** The name of standard input on all systems; messages call it `-`. */
export const standardInput = '/dev/stdin';
