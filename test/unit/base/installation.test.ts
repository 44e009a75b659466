/** The commands of npm that messages show. What they install was tried with npm 10 and 11. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import {
  addOptionalDependencies,
  addPackages,
  getNativeEngine,
  installationAt,
} from '../../../src/base/installation.ts';

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'lockstep-installation-')));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const checkout = join(folder, 'a clone');
const project = join(folder, 'project');
const dependency = join(project, 'node_modules/lockstep/');
const shared = join(folder, 'lib/node_modules/lockstep');
for (const path of [checkout, dependency, shared]) mkdirSync(path, { recursive: true });
writeFileSync(join(project, 'package.json'), '{}');

it('in a checkout npm is told to install optional peers all the same, and to keep package.json', () => {
  const at = installationAt(checkout);
  expect(at).toEqual({ kind: 'checkout', folder: checkout });
  expect(addPackages(['webgpu', 'a@1'], at, checkout)).toBe('npm install --no-save --save-dev webgpu a@1');
  expect(getNativeEngine(false, at, join(checkout, 'docs'))).toBe(
    'compile it with `npm run build:native`, which needs python3, make and a C++20 compiler, or add a prebuilt one with `npm run engine:add FILE.tgz`',
  );
  expect(getNativeEngine(false, at, folder)).toContain("`cd 'a clone' && npm run build:native`");
});

it('a dependency is compiled and added to in its project', () => {
  const at = installationAt(dependency);
  expect(at).toEqual({ kind: 'dependency', folder: project });
  expect(addPackages(['webgpu'], at, project)).toBe('npm install webgpu');
  expect(getNativeEngine(false, at, project)).toBe(
    'compile it with `npm rebuild lockstep --foreground-scripts`, which needs python3, make and a C++20 compiler',
  );
  expect(getNativeEngine(true, at, project)).toMatch(
    /compiler, or install the prebuilt one with `npm install --include=optional`$/,
  );
});

it('a package for all projects is compiled and added to wherever one is', () => {
  const at = installationAt(shared);
  expect(at.kind).toBe('global');
  expect(addPackages(['webgpu'], at, folder)).toBe('npm install -g webgpu');
  expect(getNativeEngine(true, at, folder)).toMatch(
    /`npm rebuild -g lockstep --foreground-scripts`.* or install Lockstep again without --omit=optional$/,
  );
});

it('optional dependencies that were left out are added where the package is', () => {
  expect(addOptionalDependencies(installationAt(checkout), folder)).toBe(
    "cd 'a clone' && npm install --include=optional",
  );
  expect(addOptionalDependencies(installationAt(dependency), project)).toBe('npm install --include=optional');
  expect(addOptionalDependencies(installationAt(shared), folder)).toMatch(/^install Lockstep again/);
});
