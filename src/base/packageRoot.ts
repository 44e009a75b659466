/**
 * The folder of the installed package, with package.json, configs/, src/, native/ and docs/, when running from
 * src/ (tests), dist/ (the built command) or build/bench/ (developer benches).
 */
import { existsSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Absolute path of the package's folder, ending in a separator. */
export const packageRoot: string = nearestPackage(dirname(fileURLToPath(import.meta.url)));

function nearestPackage(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder + sep;
  const above = dirname(folder);
  if (above === folder)
    throw new Error(`found no package.json in a folder above ${import.meta.url}; install the package again`);
  return nearestPackage(above);
}
