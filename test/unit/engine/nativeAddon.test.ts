import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import type { NativeFound } from '../../../src/engine/native/addon.ts';
import { loadNative } from '../../../src/engine/native/loadNative.ts';

const load = loadNative();

test.skipIf('error' in load)('a norm that is to give no gradient is refused, not written through null', () => {
  if ('error' in load) return;
  const { addon } = load;
  const engine = addon.createEngine(1, 'auto');
  const [row, one] = [new Float32Array(2), new Float32Array(1)];
  try {
    expect(() => addon.layerNormBackward(engine, 1, 2, false, null, null, null, row, row, row, one, one)).toThrow(
      'expected dinp, dweight or dbias',
    );
    expect(() => addon.rmsNormBackward(engine, 1, 2, false, null, null, row, row, row, one)).toThrow(
      'expected dinp or dweight',
    );
  } finally {
    addon.disposeEngine(engine);
  }
});

test.skipIf('error' in load)('rotations that would read past their table or row are refused', () => {
  if ('error' in load) return;
  const { addon } = load;
  const engine = addon.createEngine(1, 'auto');
  const rope = (sizes: { width: number; heads: number; headSize: number; positions: number[] }) =>
    addon.rope(
      engine,
      1,
      2,
      sizes.width,
      sizes.heads,
      sizes.headSize,
      3,
      false,
      new Float32Array(2 * sizes.width),
      new Float32Array(2 * sizes.width),
      new Float32Array(3 * sizes.headSize),
      Int32Array.from(sizes.positions),
      null,
    );
  const fitting = { width: 8, heads: 2, headSize: 4, positions: [1] };
  try {
    expect(() => rope(fitting)).not.toThrow();
    expect(() => rope({ ...fitting, positions: [2] })).toThrow('have a row in the table');
    expect(() => rope({ ...fitting, positions: [-1] })).toThrow('have a row in the table');
    expect(() => rope({ ...fitting, heads: 3 })).toThrow('fit in the width');
    expect(() => rope({ ...fitting, headSize: 3 })).toThrow('of an even size');
  } finally {
    addon.disposeEngine(engine);
  }
});

/** Where the engine is looked for, in copies of the package that have one or none. */
describe.skipIf('error' in load)('findAddon', () => {
  const { addonName, fileHash, findAddon, packageNameFor, sourcesHash } = createRequire(import.meta.url)(
    '../../../native/findAddon.cjs',
  ) as {
    addonName: string;
    fileHash(file: string): string;
    findAddon(
      root: string,
      system?: { musl?: boolean },
    ): (NativeFound & { file: string }) | { problems: string[]; isListed: boolean };
    packageNameFor(platform?: string, arch?: string): string;
    sourcesHash(root: string): string;
  };
  const name = packageNameFor();
  const usable = 'error' in load ? '' : findAddonFile();
  let folder: string;
  let root: string;
  let copies = 0;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'lockstep-findAddon-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function findAddonFile(): string {
    const found = findAddon(packageRoot);
    return 'file' in found ? found.file : '';
  }

  /** A package beside its dependencies: `root` is its folder. */
  function newCopy(manifest: object = {}): void {
    root = join(folder, `${copies++}`, 'node_modules', 'lockstep');
    mkdirSync(root, { recursive: true });
    for (const part of ['native', 'binding.gyp'])
      cpSync(join(packageRoot, part), join(root, part), { recursive: true });
    writeFileSync(join(root, 'package.json'), JSON.stringify({ name: 'lockstep', version: '1.2.3', ...manifest }));
  }

  function addCompiled(): void {
    cpSync(usable, join(root, 'build', 'Release', addonName));
  }

  function addPrebuilt(manifest: object = {}): string {
    const file = join(root, '..', name, addonName);
    cpSync(usable, file);
    const own = { name, version: '1.2.3', napi: 8, sources: sourcesHash(packageRoot), ...manifest };
    writeFileSync(join(file, '..', 'package.json'), JSON.stringify(own));
    return file;
  }

  const problems = (system?: { musl: boolean }) => {
    const found = findAddon(root, system);
    return 'problems' in found ? found.problems : found.origin;
  };

  /** As after a change of the kernels. */
  function changeSources(): void {
    writeFileSync(join(root, 'native', 'new.h'), '#pragma once\n');
  }

  test('takes what was compiled here, before a prebuilt package', () => {
    newCopy();
    addCompiled();
    addPrebuilt();
    expect(problems()).toBe('compiled');
  });

  test('takes a prebuilt package of the same version', () => {
    newCopy();
    const file = addPrebuilt();
    expect(findAddon(root)).toMatchObject({ origin: 'prebuilt', file });
  });

  test('says that there is none, and whether npm left out the prebuilt package', () => {
    newCopy();
    expect(findAddon(root)).toEqual({ problems: [], isListed: false });
    newCopy({ optionalDependencies: { [name]: '1.2.3' } });
    expect(findAddon(root)).toEqual({
      problems: [`the package ${name}, which has it compiled, is not installed`],
      isListed: true,
    });
  });

  test('refuses what was compiled before the sources changed, wherever it is', () => {
    newCopy();
    addCompiled();
    addPrebuilt();
    changeSources();
    expect(problems()).toEqual([
      `build/Release/${addonName} was compiled from other sources than native/ has now`,
      `${name} was compiled from other sources than native/ has now`,
    ]);
  });

  test('takes the prebuilt package where what was compiled here cannot be loaded', () => {
    newCopy();
    addCompiled();
    writeFileSync(join(root, 'build', 'Release', addonName), 'no library');
    expect(problems()).toEqual([expect.stringMatching(/^build\/Release\/.* cannot be loaded: /)]);
    addPrebuilt();
    expect(problems()).toBe('prebuilt');
  });

  test.each([
    { version: '1.2.4', problem: 'is of version 1.2.4, Lockstep of version 1.2.3' },
    { napi: 1_000, problem: 'needs Node-API 1000, newer than this Node has' },
    { napi: undefined, problem: 'needs Node-API undefined, newer than this Node has' },
    { sources: 'of another commit', problem: 'was compiled from other sources than native/ has now' },
    { sources: undefined, problem: 'was compiled from other sources than native/ has now' },
  ])('does not load a prebuilt package that $problem', ({ problem, ...manifest }) => {
    newCopy();
    // Nothing that could be loaded.
    writeFileSync(addPrebuilt(manifest), 'no library');
    expect(problems()).toEqual([`${name} ${problem}`]);
  });

  test.skipIf(process.platform !== 'linux')('does not load it on a system whose glibc is older than it needs', () => {
    newCopy();
    writeFileSync(addPrebuilt({ glibc: '99.1' }), 'no library');
    expect(problems()).toEqual([expect.stringMatching(/ needs glibc 99\.1 or newer, and this system has [\d.]+$/)]);
    addPrebuilt({ glibc: '2.9' });
    expect(problems()).toBe('prebuilt');
  });

  test('refuses it on musl', () => {
    newCopy();
    addPrebuilt();
    expect(problems({ musl: true })).toEqual([`${name} is compiled for glibc, and this system has musl`]);
  });

  test('refuses a file that is not the one that the release was made with', () => {
    newCopy({ packageHashes: { [name]: fileHash(usable) } });
    const file = addPrebuilt();
    expect(problems()).toBe('prebuilt');
    writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.from([0])]));
    expect(problems()).toEqual([`${name} has another file than this release was made with`]);
  });

  test('the hash of the sources does not depend on line ends, nor on files that are not compiled', () => {
    newCopy();
    const hash = sourcesHash(root);
    expect(hash).toBe(sourcesHash(packageRoot));
    const header = join(root, 'native', 'engine.h');
    writeFileSync(header, readFileSync(header, 'utf8').replaceAll('\n', '\r\n'));
    writeFileSync(join(root, 'native', 'notes.txt'), 'x');
    expect(sourcesHash(root)).toBe(hash);
    changeSources();
    expect(sourcesHash(root)).not.toBe(hash);
  });
});
