/** Commands that change this installation, for messages: npm needs different commands in a checkout and for a package in node_modules. */
import { existsSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { packageRoot } from './packageRoot.ts';
import { shellWord } from './shellWord.ts';
import { shortPath } from './shortPath.ts';

export interface Installation {
  /** A checkout of the repository, a dependency of a project, or a package that npm installed for all of them. */
  readonly kind: 'checkout' | 'dependency' | 'global';
  /** The folder in which to call npm. */
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
 * Adds optional packages. In a checkout they are optional peers of the project itself, which npm 11 installs only if
 * they are named as another kind; `--no-save` leaves package.json and the lock file unchanged.
 */
export function addPackages(
  packages: readonly string[],
  { kind, folder }: Installation = installationAt(),
  cwd: string = process.cwd(),
): string {
  const options = { checkout: '--no-save --save-dev ', dependency: '', global: '-g ' }[kind];
  return inFolder(`npm install ${options}${packages.map(shellWord).join(' ')}`, { kind, folder }, cwd);
}

/** Installs the optional dependencies that npm was told to leave out. */
export function addOptionalDependencies(
  { kind, folder }: Installation = installationAt(),
  cwd: string = process.cwd(),
): string {
  // A global package is not named: it may have come from a file, and the registry may have another of this name.
  if (kind === 'global') return 'install Lockstep again without --omit=optional';
  return inFolder('npm install --include=optional', { kind, folder }, cwd);
}

/**
 * What to do to have the native engine.
 * @param isListed whether this package has the prebuilt engine of this platform as an optional dependency: then npm was told to leave
 * it out
 */
export function getNativeEngine(
  isListed: boolean,
  { kind, folder }: Installation = installationAt(),
  cwd: string = process.cwd(),
): string {
  const at = (command: string) => `\`${inFolder(command, { kind, folder }, cwd)}\``;
  const compile = {
    checkout: 'npm run build:native',
    dependency: 'npm rebuild lockstep --foreground-scripts',
    global: 'npm rebuild -g lockstep --foreground-scripts',
  }[kind];
  const others = {
    checkout: ` or add a prebuilt one with ${at('npm run engine:add FILE.tgz')}`,
    dependency: isListed ? ` or install the prebuilt one with ${at('npm install --include=optional')}` : undefined,
    // Not by name: the package may have come from a file, and the registry may have another of this name.
    global: isListed ? ' or install Lockstep again without --omit=optional' : undefined,
  };
  return `compile it with ${at(compile)}, which needs python3, make and a C++20 compiler${others[kind] === undefined ? '' : `,${others[kind]}`}`;
}

/** npm searches for the project in the parent folders, so a folder inside it is sufficient. */
function inFolder(command: string, { kind, folder }: Installation, cwd: string): string {
  const isInside = !relative(folder, cwd).startsWith('..');
  return kind === 'global' || isInside ? command : `cd ${shellWord(shortPath(folder, cwd))} && ${command}`;
}
