import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';

// A script, which has no types.
const { hashOf, isCurrent, makeStamped } = await import(join(packageRoot, 'scripts', 'outputStamp.mjs'));

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lockstep-stamp-'));
  mkdirSync(join(root, 'native', 'kernels'), { recursive: true });
  writeFileSync(join(root, 'native', 'kernels', 'a.cc'), 'int a;');
  writeFileSync(join(root, 'binding.gyp'), '{}');
});
afterEach(() => rmSync(root, { recursive: true }));

const hash = (facts: string[] = ['115']) => hashOf(root, ['native', 'binding.gyp', 'absent'], facts);

it('is another for another source, name or fact, and the same for the same', () => {
  const first = hash();
  expect(hash()).toBe(first);
  expect(hash(['127'])).not.toBe(first);
  writeFileSync(join(root, 'native', 'b.cc'), '');
  const second = hash();
  expect(second).not.toBe(first);
  writeFileSync(join(root, 'native', 'kernels', 'a.cc'), 'int b;');
  expect(hash()).not.toBe(second);
});

it('says that an output is current when it was made of the same, to the end', () => {
  const [output, stamp] = [join(root, 'out'), join(root, 'out.stamp')];
  expect(isCurrent(output, stamp, hash())).toBe(false);
  const made = hash();
  makeStamped(stamp, made, () => {
    writeFileSync(output, '');
    return true;
  });
  expect(isCurrent(output, stamp, made)).toBe(true);
  expect(isCurrent(output, stamp, 'another')).toBe(false);
  makeStamped(stamp, made, () => {
    expect(isCurrent(output, stamp, made)).toBe(false);
    return false;
  });
  expect(existsSync(stamp)).toBe(false);
  rmSync(output);
  writeFileSync(stamp, made);
  expect(isCurrent(output, stamp, made)).toBe(false);
});
