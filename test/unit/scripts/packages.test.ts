/** The scripts that pack a release and take an engine out of a package, in a copy whose build and engine are small. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { version } from '../../../src/base/version.ts';

const { compiledPath, fileHash, findAddon, packageNameFor, sourcesHash } = createRequire(import.meta.url)(
  '../../../native/findAddon.cjs',
) as {
  compiledPath(root: string): string;
  fileHash(file: string): string;
  findAddon(root: string): { file?: string };
  packageNameFor(): string;
  sourcesHash(root: string): string;
};
const engine = packageNameFor();
const { file: usable } = findAddon(packageRoot);
const { optionalDependencies } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
  optionalDependencies: Record<string, string>;
};

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lockstep-pack-'));
  const configs = ['tsconfig.json', 'tsconfig.build.json'];
  for (const name of ['native', 'scripts', 'binding.gyp', 'package.json', 'package-lock.json', ...configs])
    cpSync(join(packageRoot, name), join(root, name), { recursive: true });
  mkdirSync(join(root, 'node_modules'));
});
afterEach(() => rmSync(root, { recursive: true }));

/** A package of the engine of this platform. */
function packEngine(addon: Uint8Array | string, manifest: object = {}): string {
  const folder = join(root, 'build', 'engine');
  mkdirSync(join(folder, 'package'), { recursive: true });
  mkdirSync(join(root, 'build', 'prebuilds'), { recursive: true });
  const own = { name: engine, version, napi: 8, sources: sourcesHash(root), ...manifest };
  writeFileSync(join(folder, 'package', 'package.json'), JSON.stringify(own));
  writeFileSync(join(folder, 'package', 'lockstep_native.node'), addon);
  const file = join(root, 'build', 'prebuilds', `lockstep-engine-${process.platform}-${process.arch}-${version}.tgz`);
  execFileSync('tar', ['-czf', file, '-C', folder, 'package']);
  return file;
}

function script(name: string, ...words: string[]) {
  return spawnSync(process.execPath, [join(root, 'scripts', name), ...words], { cwd: root, encoding: 'utf8' });
}

it('a release depends on the engines and on all that the checkout does, and has what is built of its sources alone', () => {
  writeFileSync(
    join(root, 'scripts', 'prepare.mjs'),
    "import { mkdirSync, writeFileSync } from 'node:fs'; mkdirSync('dist/cli', { recursive: true }); writeFileSync('dist/cli/main.js', 'new');",
  );
  mkdirSync(join(root, 'dist', 'cli'), { recursive: true });
  writeFileSync(join(root, 'dist', 'cli', 'main.js'), 'old');
  writeFileSync(join(root, 'dist', 'removed.js'), '');
  packEngine('an engine');
  const { status, stdout, stderr } = script('pack-release.mjs');
  expect(status, stderr).toBe(0);
  const file = join(root, 'build', 'prebuilds', `lockstep-${version}.tgz`);
  expect(stdout).toBe(`${file}\n  with ${engine}\n`);
  const inRelease = (name: string) => execFileSync('tar', ['-xzOf', file, `package/${name}`], { encoding: 'utf8' });
  expect(JSON.parse(inRelease('package.json'))).toMatchObject({
    optionalDependencies: { ...optionalDependencies, [engine]: version },
    packageHashes: { [engine]: fileHash(join(root, 'build', 'engine', 'package', 'lockstep_native.node')) },
  });
  expect(Object.keys(optionalDependencies)).toEqual(
    expect.arrayContaining(['@tensorflow/tfjs-core', '@resvg/resvg-js']),
  );
  expect(inRelease('dist/cli/main.js')).toBe('new');
  expect(execFileSync('tar', ['-tzf', file], { encoding: 'utf8' })).not.toMatch(/removed\.js|tsconfig|node_modules/);
  // Commands that run use it.
  expect(readFileSync(join(root, 'dist', 'cli', 'main.js'), 'utf8')).toBe('old');
}, 120_000);

it('no release is packed with an engine of other sources, or with none, or after a build that failed', () => {
  writeFileSync(join(root, 'scripts', 'prepare.mjs'), 'process.exitCode = 3;');
  const problem = () => {
    const { status, stderr } = script('pack-release.mjs');
    expect(status).toBe(1);
    return stderr;
  };
  // One line, before the build.
  expect(problem()).toMatch(/^.* has no engine: run `npm run pack:engine` first.*\n$/);
  packEngine('an engine', { sources: 'others' });
  expect(problem()).toMatch(/^.* is of another version or of other sources.*\n$/);
  packEngine('an engine');
  expect(problem()).toContain('prepare.mjs');
  expect(existsSync(join(root, 'build', 'prebuilds', `lockstep-${version}.tgz`))).toBe(false);
}, 120_000);

it.skipIf(usable === undefined)(
  'an engine that ends the process that loads it is not added, and the former stays',
  () => {
    const addon = readFileSync(usable!);
    const target = compiledPath(root);
    expect(script('add-engine.mjs', packEngine(addon))).toMatchObject({ status: 0, stderr: '' });
    const { status, stderr } = script('add-engine.mjs', packEngine(addon.subarray(0, addon.length / 2)));
    expect(stderr).toMatch(/the process that loaded it ended with |cannot be loaded/);
    expect(status).toBe(2);
    expect(readFileSync(target).equals(addon)).toBe(true);
    expect(existsSync(`${target}.former`)).toBe(false);
    expect(script('build-native.mjs').stdout).toContain('the native engine is available (compiled)');
  },
  120_000,
);
