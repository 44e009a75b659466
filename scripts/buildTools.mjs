// The packages that building needs and running does not. They are among the development dependencies; `npm ci --omit=dev` leaves
// them out, and 300 MB of others. Then npm installs them alone into node_modules/.cache, with the versions and hashes of the lock file.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const tools = ['oxc-transform', 'gpt-tokenizer', '@expo-google-fonts/inter'];

/** @returns a `require` that finds the files of a build tool, which is installed if it is missing */
export function requireOf(tool, root) {
  if (existsSync(join(root, 'node_modules', tool))) return createRequire(join(root, 'package.json'));
  const folder = join(root, 'node_modules', '.cache', 'build-tools');
  const lock = toolsLock(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')));
  const text = JSON.stringify(lock);
  const lockFile = join(folder, 'package-lock.json');
  const isInstalled = existsSync(join(folder, 'node_modules', tool)) && readFileSync(lockFile, 'utf8') === text;
  if (!isInstalled) install(folder, lock, text);
  return createRequire(join(folder, 'package.json'));
}

/** The part of a lock file that has the build tools, and what they depend on for each platform. */
export function toolsLock({ packages }) {
  const chosen = {};
  const add = (name) => {
    const { dev: _, ...entry } = packages[`node_modules/${name}`];
    chosen[`node_modules/${name}`] = entry;
    for (const other of Object.keys({ ...entry.dependencies, ...entry.optionalDependencies })) add(other);
  };
  for (const name of tools) add(name);
  const dependencies = Object.fromEntries(tools.map((name) => [name, packages[`node_modules/${name}`].version]));
  return { lockfileVersion: 3, requires: true, packages: { '': { dependencies }, ...chosen } };
}

function install(folder, lock, text) {
  process.stdout.write(`lockstep: installing what only the build needs: ${tools.join(', ')}\n`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, ...lock.packages[''] }));
  writeFileSync(join(folder, 'package-lock.json'), text);
  // npm passes its own options on to its scripts: --omit=optional would leave the compiler of this platform out.
  const options = ['--include=optional', '--no-global', '--ignore-scripts', '--no-audit', '--no-fund'];
  const { npm_execpath: npm } = process.env;
  const [command, ...words] = npm ? [process.execPath, npm] : ['npm'];
  const { status, error } = spawnSync(command, [...words, 'ci', '--prefix', folder, ...options, '--loglevel=error'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    shell: process.platform === 'win32' && !npm,
  });
  if (status === 0) return;
  rmSync(folder, { recursive: true, force: true });
  throw error ?? new Error('npm could not install what the build needs: see above, or run `npm ci` without --omit=dev');
}
