/**
 * Finds and reads a config file; it does not parse it. A name without a path is searched in the working folder, then among the
 * configs shipped with the package, each with and without `.yaml`.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, extname, join, relative, resolve } from 'node:path';
import { messageOf, UserError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { packageRoot } from '../base/packageRoot.ts';
import { expandHome } from '../base/userPath.ts';

/** A config is a page of text; a much longer file was named by mistake. */
const fileBytesMax = 256 * 1024;

export interface ConfigFile {
  /** Absolute. */
  readonly path: string;
  /** Its name in messages: relative to the working folder if that is shorter. */
  readonly name: string;
  readonly text: string;
  /** Whether it is shipped with the package. */
  readonly isShipped: boolean;
}

const shippedFolder = join(packageRoot, 'configs');

/** Names of the configs in the package, without `.yaml`, sorted. */
export function shippedConfigs(): string[] {
  return readdirSync(shippedFolder)
    .filter((file) => extname(file) === '.yaml')
    .map((file) => basename(file, '.yaml'))
    .sort();
}

/** Reads the config called `name`. @throws UserError that lists the shipped configs if it is not found */
export function readConfigFile(given: string, cwd: string): ConfigFile {
  const name = expandHome(given);
  const withoutPath = !/[\\/]/.test(name);
  const folders = withoutPath ? [cwd, shippedFolder] : [cwd];
  const endings = /\.ya?ml$/.test(name) ? [''] : ['', '.yaml'];
  for (const folder of folders) {
    for (const ending of endings) {
      const path = resolve(folder, name + ending);
      if (isFile(path, name)) return { ...read(path, cwd), isShipped: folder === shippedFolder };
    }
  }
  const shipped = shippedConfigs();
  const guess = nearest(basename(name).replace(/\.ya?ml$/, ''), shipped, (candidate) => candidate);
  const searched = withoutPath ? `${cwd} and the shipped configs` : cwd;
  throw new UserError(
    `config ${JSON.stringify(name)} not found (searched ${searched}).${guess === undefined ? '' : ` Did you mean ${guess}?`}\n` +
      `Shipped configs: ${shipped.join(', ')}.`,
  );
}

function isFile(path: string, name: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
  } catch (error) {
    throw new UserError(
      `config ${JSON.stringify(name.slice(0, 200))} cannot be read (${messageOf(error).slice(0, 200)}).`,
    );
  }
}

function read(path: string, cwd: string): Omit<ConfigFile, 'isShipped'> {
  const shorter = relative(cwd, path);
  const name = shorter.startsWith('..') && shorter.length > 40 ? path : shorter;
  let bytes: Buffer;
  try {
    const { size } = statSync(path);
    if (size > fileBytesMax) {
      throw new UserError(
        `${name}: expected a config of at most ${fileBytesMax} bytes, received ${size}. Is this the right file?`,
      );
    }
    bytes = readFileSync(path);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${name}: cannot be read (${messageOf(error)}).`);
  }
  try {
    return { path, name, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    throw new UserError(`${name}: expected YAML in UTF-8, received bytes that are not UTF-8. Is this the right file?`);
  }
}
