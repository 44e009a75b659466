/** Paths as written by people and in configs. */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { UserError } from './errors.ts';
import { isObjectPath, objectPath, parseObjectPath } from './objectPath.ts';

/**
 * Expands `~` and `~/x` to the home folder, like a shell, which does not expand them after `=` and in files. Other paths are unchanged.
 * @throws UserError for `~name`, another user's, and for a zero byte, which no path of a file has
 */
export function expandHome(path: string): string {
  if (path.includes('\0')) {
    throw new UserError(`expected a path without a zero byte, received ${JSON.stringify(path.slice(0, 100))}`);
  }
  if (path === '~' || path.startsWith('~/')) return join(homedir(), path.slice(1));
  if (!/^~[\w.-]*(\/|$)/.test(path)) return path;
  throw new UserError(
    `${path}: cannot look up the home folder of another user; give the full path, or ./${path} for a file of that name`,
  );
}

/** Absolute; a relative path starts at `cwd`. @throws UserError for `~name`, and for `s3://…` */
export function userPath(cwd: string, path: string): string {
  if (!isObjectPath(path)) return resolve(cwd, expandHome(path));
  throw new UserError(
    `${path} is in an object store, and a path on a disk is expected here: only checkpoints, prepared data and tokenizers are read from s3://`,
  );
}

/**
 * The same, but a path of an object or prefix, `s3://…`, stays.
 * @throws UserError for `~name`, for `s3://` without a bucket, and for other addresses
 */
export function storedPath(cwd: string, path: string): string {
  if (/^[a-z][a-z\d+.-]+:\/\//i.test(path) && !isObjectPath(path)) {
    const meant = /^s3:/i.test(path) ? 'write s3:// in small letters' : 'download it first';
    throw new UserError(`${path}: only paths on a disk and s3://BUCKET/PREFIX are read: ${meant}`);
  }
  return isObjectPath(path) ? objectPath(parseObjectPath(path)) : userPath(cwd, path);
}

/** The name of standard input on all systems; messages call it `-`. */
export const standardInput = '/dev/stdin';
