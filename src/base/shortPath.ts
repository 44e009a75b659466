/** Paths for messages. */
import { relative } from 'node:path';
import { isObjectPath } from './objectPath.ts';

/** Relative to the working folder if that is shorter; it means the same when typed there. */
export function shortPath(path: string, cwd: string = process.cwd()): string {
  if (isObjectPath(path)) return path;
  const fromHere = relative(cwd, path) || '.';
  return fromHere.length < path.length ? fromHere : path;
}
