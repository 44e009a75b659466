// Packs what is published: build/prebuilds/lockstep-VERSION.tgz, whose optional dependencies are the engines in build/prebuilds, at this
// very version, with the hash of each. In the repository package.json names none: `npm ci` of a checkout would ask the registry for
// packages that are not there yet, which somebody else could put there. Publish the engines first, then this file. `--folder DIR` takes
// the engines from another folder than build/prebuilds, and packs into it.
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { unpack } from './unpack.mjs';

const { addonName, fileHash, sourcesHash } = createRequire(import.meta.url)('../native/findAddon.cjs');
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = resolve(
  parseArgs({ options: { folder: { type: 'string', default: join(root, 'build', 'prebuilds') } } }).values.folder,
);
const shell = process.platform === 'win32';

/** What the user has to change first. */
class Refusal extends Error {}

mkdirSync(target, { recursive: true });
const folder = mkdtempSync(join(tmpdir(), 'lockstep-release-'));
try {
  // Before the build, which takes a while.
  const engines = enginesOf(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version);
  const own = unpack(pack(root, folder), join(folder, 'lockstep'));
  build(own);
  const manifest = JSON.parse(readFileSync(join(own, 'package.json'), 'utf8'));
  const versions = Object.fromEntries(engines.map(({ name }) => [name, manifest.version]));
  manifest.optionalDependencies = { ...manifest.optionalDependencies, ...versions };
  manifest.packageHashes = Object.fromEntries(engines.map(({ name, hash }) => [name, hash]));
  writeFileSync(join(own, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  process.stdout.write(`${pack(own, target)}\n`);
  for (const { name } of engines) process.stdout.write(`  with ${name}\n`);
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Builds dist/ anew: that of the checkout may have modules whose sources were removed since, and commands that run use it. */
function build(own) {
  rmSync(join(own, 'dist'), { recursive: true, force: true });
  // `npm pack` leaves out what only building needs.
  const names = ['tsconfig.json', 'tsconfig.build.json', 'package-lock.json'];
  for (const name of names) copyFileSync(join(root, name), join(own, name));
  symlinkSync(join(root, 'node_modules'), join(own, 'node_modules'), 'junction');
  const node = (...words) => execFileSync(process.execPath, words, { cwd: own, stdio: 'inherit' });
  node(join(own, 'scripts', 'prepare.mjs'));
  // Only the checkout knows its commit.
  node(join(own, 'scripts', 'write-commit.mjs'), root);
}

/** The packages of engines in the target, by name. @returns {{ name: string, hash: string }[]} */
function enginesOf(version) {
  const engines = readdirSync(target)
    .filter((file) => /-engine-.*\.tgz$/.test(file))
    .sort()
    .map((file) => {
      const content = unpack(join(target, file), join(folder, `${file}.files`));
      const { name, version: built, sources } = JSON.parse(readFileSync(join(content, 'package.json'), 'utf8'));
      if (built !== version || sources !== sourcesHash(root))
        throw new Refusal(
          `${join(target, file)} is of another version or of other sources: remove it, or build it again`,
        );
      return { name, hash: fileHash(join(content, addonName)) };
    });
  if (engines.length === 0)
    throw new Refusal(
      `${target} has no engine: run \`npm run pack:engine\` first. Engines of other platforms come from the same command there`,
    );
  return engines;
}

/** @returns the path of the tarball */
function pack(source, into) {
  // A shell would split a path that has spaces.
  const destination = shell ? `"${into}"` : into;
  const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', destination], {
    cwd: source,
    encoding: 'utf8',
    shell,
  });
  return join(into, JSON.parse(packed)[0].filename);
}
