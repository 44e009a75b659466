/** Paths for messages. */
import { relative } from 'node:path';

/** Relative to the working folder if that is shorter; it means the same when typed there. */
export function shortPath(path: string, cwd: string = process.cwd()): string {
  const fromHere = relative(cwd, path) || '.';
  return fromHere.length < path.length ? fromHere : path;
}
