// Packs what is published: build/prebuilds/lockstep-VERSION.tgz, whose optional dependencies are the engines in build/prebuilds, at this
// very version, with the hash of each. In the repository package.json names none: `npm ci` of a checkout would ask the registry for
// packages that are not there yet, which somebody else could put there. Publish the engines first, then this file.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const { addonName, fileHash, sourcesHash } = createRequire(import.meta.url)('../native/findAddon.cjs');
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = join(root, 'build', 'prebuilds');
const shell = process.platform === 'win32';

mkdirSync(target, { recursive: true });
const folder = mkdtempSync(join(tmpdir(), 'lockstep-release-'));
try {
  await import('./prepare.mjs');
  if (process.exitCode) throw new Error('the build failed');
  const own = unpack(pack(root, folder), 'lockstep');
  const manifest = JSON.parse(readFileSync(join(own, 'package.json'), 'utf8'));
  const engines = enginesOf(manifest.version);
  manifest.optionalDependencies = Object.fromEntries(engines.map(({ name }) => [name, manifest.version]));
  manifest.packageHashes = Object.fromEntries(engines.map(({ name, hash }) => [name, hash]));
  writeFileSync(join(own, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  process.stdout.write(`${pack(own, target)}\n`);
  for (const { name } of engines) process.stdout.write(`  with ${name}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The packages in build/prebuilds, by name. @returns {{ name: string, hash: string }[]} */
function enginesOf(version) {
  const engines = readdirSync(target)
    .filter((file) => /-engine-.*\.tgz$/.test(file))
    .sort()
    .map((file) => {
      const content = unpack(join(target, file), file);
      const { name, version: built, sources } = JSON.parse(readFileSync(join(content, 'package.json'), 'utf8'));
      if (built !== version || sources !== sourcesHash(root))
        throw new Error(
          `build/prebuilds/${file} is of another version or of other sources: remove it, or build it again`,
        );
      return { name, hash: fileHash(join(content, addonName)) };
    });
  if (engines.length === 0)
    throw new Error(
      'build/prebuilds has no engine: run `npm run pack:engine` first. Engines of other platforms come from the same command there',
    );
  return engines;
}

/** @returns the path of the tarball */
function pack(source, into) {
  const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', into], {
    cwd: source,
    encoding: 'utf8',
    shell,
  });
  return join(into, JSON.parse(packed)[0].filename);
}

/** @returns the folder with the package's files */
function unpack(tarball, name) {
  const into = join(folder, `${name}.files`);
  mkdirSync(into);
  execFileSync('tar', ['-xzf', tarball, '-C', into]);
  return join(into, 'package');
}
