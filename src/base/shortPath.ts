/** Paths as messages show them. */
import { relative } from 'node:path';

/** Relative to the working folder where that is shorter; it means the same to whoever types it there. */
export function shortPath(path: string, cwd: string = process.cwd()): string {
  const fromHere = relative(cwd, path) || '.';
  return fromHere.length < path.length ? fromHere : path;
}
