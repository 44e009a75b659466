import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';

let root: string | undefined;

afterEach(() => {
  if (root !== undefined) rmSync(root, { recursive: true });
  root = undefined;
});

/** What the script prints about a tree of these files, a line each. */
function check(files: Readonly<Record<string, string>>): { status: number | null; lines: string[] } {
  root = mkdtempSync(join(tmpdir(), 'lockstep-layers-'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const script = join(packageRoot, 'scripts', 'check-layers.mjs');
  const { status, stderr } = spawnSync(process.execPath, [script, root], { encoding: 'utf8' });
  return { status, lines: stderr.split('\n').filter((line) => line !== '') };
}

describe('check-layers', () => {
  it('accepts imports that point down, and packages', () => {
    const result = check({
      'src/base/clock.ts': 'export const now = 0;',
      'src/engine/engine.ts':
        "import { now } from '../base/clock.ts'; import 'node:fs'; import 'zod'; export const a = now;",
      'src/index.ts': "export { a } from './engine/engine.ts';",
    });
    expect(result).toEqual({ status: 0, lines: [] });
  });

  it.each([
    ['a value', "import { a } from '../engine/engine.ts'; export const b = a;"],
    ['a type', "import type { A } from '../engine/engine.ts'; export type B = A;"],
    ['a type in place', "export type B = import('../engine/engine.ts').A;"],
    ['what it exports again', "export * from '../engine/engine.ts';"],
    ['a type that it exports again', "export type { A } from '../engine/engine.ts';"],
    ['what it loads later', "export const b = await import('../engine/engine.ts');"],
  ])('refuses an import that points up: %s', (_, text) => {
    const result = check({
      'src/base/clock.ts': text,
      'src/engine/engine.ts': 'export type A = string; export const a = 1;',
    });
    expect(result).toEqual({
      status: 1,
      lines: [
        'src/base/clock.ts imports src/engine/engine.ts: src/base may not import src/engine (scripts/layers.mjs)',
      ],
    });
  });

  it('refuses to import what is beside src/, or src/index.ts', () => {
    const { lines } = check({
      'src/base/a.ts': "import '../../bench/b.ts'; import '../index.ts';",
      'bench/b.ts': '',
      'src/index.ts': '',
    });
    expect(lines).toEqual([
      'src/base/a.ts imports bench/b.ts: the product needs nothing from beside src/ (scripts/layers.mjs)',
      'src/base/a.ts imports src/index.ts: src/base may not import src/ (scripts/layers.mjs)',
    ]);
  });

  it('refuses a folder that the table does not have', () => {
    const { lines } = check({ 'src/utils/a.ts': "import '../base/b.ts';", 'src/base/b.ts': '' });
    expect(lines).toEqual([
      'src/utils/a.ts: src/utils has no line in scripts/layers.mjs',
      'src/utils/a.ts imports src/base/b.ts: src/utils may not import src/base (scripts/layers.mjs)',
    ]);
  });

  it('keeps the pure core of the coordinator from its rim and from Node', () => {
    const { lines } = check({
      'src/coordinator/core/decide.ts': "import 'node:fs'; import '../rim.ts';",
      'src/coordinator/rim.ts': '',
    });
    expect(lines).toEqual([
      'src/coordinator/core/decide.ts imports node:fs: src/coordinator/core is pure (scripts/layers.mjs)',
      'src/coordinator/core/decide.ts imports src/coordinator/rim.ts: src/coordinator/core may not import src/coordinator (scripts/layers.mjs)',
    ]);
  });

  it('keeps each engine to itself', () => {
    const { lines } = check({
      'src/engine/engines.ts': "import './native/entry.ts';",
      'src/engine/native/entry.ts': "import '../tfjs/entry.ts';",
      'src/engine/tfjs/entry.ts': '',
      'src/model/tape.ts': "import '../engine/native/entry.ts';",
    });
    expect(lines).toEqual([
      'src/engine/native/entry.ts imports src/engine/tfjs/entry.ts: src/engine/native may not import src/engine/tfjs (scripts/layers.mjs)',
      'src/model/tape.ts imports src/engine/native/entry.ts: src/model may not import src/engine/native (scripts/layers.mjs)',
    ]);
  });

  it('finds a circle of types alone, and names its modules once', () => {
    const result = check({
      'src/base/a.ts': "import type { B } from './b.ts'; export type A = B[];",
      'src/base/b.ts': "import type { C } from './c.ts'; export type B = C[];",
      'src/base/c.ts': "import type { A } from './a.ts'; export interface C { a: A }",
      'src/base/d.ts': "import type { A } from './a.ts'; export type D = A;",
    });
    expect(result).toEqual({
      status: 1,
      lines: ['circle: src/base/a.ts → src/base/b.ts → src/base/c.ts → src/base/a.ts'],
    });
  });
});
