/** What changes this installation, for messages: npm wants other commands in a checkout than for a package in node_modules. */
import { existsSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { packageRoot } from './packageRoot.ts';
import { shellWord } from './shellWord.ts';
import { shortPath } from './shortPath.ts';

export interface Installation {
  /** A checkout of the repository, a dependency of a project, or a package that npm installed for all of them. */
  readonly kind: 'checkout' | 'dependency' | 'global';
  /** Where npm is to be called. */
  readonly folder: string;
}

/** @param root the package's folder */
export function installationAt(root: string = packageRoot): Installation {
  const folder = resolve(root);
  const around = dirname(folder);
  if (basename(around) !== 'node_modules') return { kind: 'checkout', folder };
  const project = dirname(around);
  return { kind: existsSync(join(project, 'package.json')) ? 'dependency' : 'global', folder: project };
}

/**
 * Adds packages that this one can do without. In a checkout they are optional peers of the project itself, which npm 11 installs only if
 * it is told to take them for another kind; `--no-save` leaves package.json and the lock file as they are.
 */
export function addPackages(
  packages: readonly string[],
  { kind, folder }: Installation = installationAt(),
  cwd: string = process.cwd(),
): string {
  const options = { checkout: '--no-save --save-dev ', dependency: '', global: '-g ' }[kind];
  return inFolder(`npm install ${options}${packages.map(shellWord).join(' ')}`, { kind, folder }, cwd);
}

/** Compiles the native engine, and says what is wrong if that fails. */
export function compileNative({ kind, folder }: Installation = installationAt(), cwd: string = process.cwd()): string {
  const commands = {
    checkout: 'npm run build:native',
    dependency: 'npm rebuild lockstep --foreground-scripts',
    global: 'npm rebuild -g lockstep --foreground-scripts',
  };
  return inFolder(commands[kind], { kind, folder }, cwd);
}

/** npm looks for the project in the folders above, so that a folder in it will do. */
function inFolder(command: string, { kind, folder }: Installation, cwd: string): string {
  const isInside = !relative(folder, cwd).startsWith('..');
  return kind === 'global' || isInside ? command : `cd ${shellWord(shortPath(folder, cwd))} && ${command}`;
}
