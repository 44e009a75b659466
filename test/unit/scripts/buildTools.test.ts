/** What `npm ci --omit=dev` of a checkout builds with. The nightly test of packages installs it. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';

interface Lock {
  packages: Record<string, { version?: string; integrity?: string; dependencies?: Record<string, string> }>;
}
const path = '../../../scripts/buildTools.mjs';
const { requireOf, toolsLock } = (await import(path)) as {
  requireOf(tool: string, root: string): NodeJS.Require;
  toolsLock(lock: Lock): Lock;
};
const lock = JSON.parse(readFileSync(join(packageRoot, 'package-lock.json'), 'utf8')) as Lock;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lockstep-tools-'));
  writeFileSync(join(root, 'package-lock.json'), JSON.stringify(lock));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

it('the build tools have the versions and hashes of the lock file, with the binaries of every platform', () => {
  const { '': own, ...packages } = toolsLock(lock).packages;
  for (const [name, { version, integrity }] of Object.entries(packages)) {
    expect(integrity).toMatch(/^sha512-/);
    expect({ version, integrity }).toEqual({
      version: lock.packages[name]?.version,
      integrity: lock.packages[name]?.integrity,
    });
  }
  const wanted = own?.dependencies?.['oxc-transform'];
  expect(packages['node_modules/oxc-transform']?.version).toBe(wanted);
  for (const platform of ['linux-x64-gnu', 'linux-arm64-musl', 'darwin-arm64', 'win32-x64-msvc'])
    expect(packages[`node_modules/@oxc-transform/binding-${platform}`]?.version).toBe(wanted);
});

/** Stands for npm: writes the folder that `npm ci` would, and counts its calls. */
function stubNpm(exitCode: number): () => number {
  const calls = join(root, 'calls');
  writeFileSync(calls, '');
  writeFileSync(
    join(root, 'npm.cjs'),
    `const fs = require('node:fs');
    fs.appendFileSync(${JSON.stringify(calls)}, 'x');
    fs.mkdirSync('node_modules/oxc-transform', { recursive: true });
    fs.writeFileSync('node_modules/oxc-transform/package.json', '{}');
    process.exit(${exitCode});`,
  );
  vi.stubEnv('npm_execpath', join(root, 'npm.cjs'));
  return () => readFileSync(calls, 'utf8').length;
}

it('a build tool is installed once for a lock file, and not where npm installed it', () => {
  const calls = stubNpm(0);
  const found = () => requireOf('oxc-transform', root).resolve('oxc-transform/package.json');
  expect(found()).toContain(join('.cache', 'build-tools'));
  found();
  expect(calls()).toBe(1);
  const newer = { ...lock.packages['node_modules/oxc-transform'], version: '999.0.0' };
  const packages = { ...lock.packages, 'node_modules/oxc-transform': newer };
  writeFileSync(join(root, 'package-lock.json'), JSON.stringify({ ...lock, packages }));
  found();
  expect(calls()).toBe(2);
  mkdirSync(join(root, 'node_modules', 'oxc-transform'));
  writeFileSync(join(root, 'node_modules', 'oxc-transform', 'package.json'), '{}');
  expect(found()).not.toContain('.cache');
});

it('an install that fails is an error, and is repeated', () => {
  const calls = stubNpm(1);
  for (const attempt of [1, 2]) {
    expect(() => requireOf('oxc-transform', root)).toThrow('run `npm ci` without --omit=dev');
    expect(calls()).toBe(attempt);
  }
});
