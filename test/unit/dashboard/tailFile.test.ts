import { appendFile, mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { TailFile } from '../../../src/dashboard/tailFile.ts';

let folder = '';
let told: string[] = [];
let file: TailFile;
const path = () => join(folder, 'lines');
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-tail-'));
  told = [];
  file = new TailFile(path(), { line: (text) => told.push(text), restarted: () => told.push('RESTARTED') });
});
afterEach(() => rm(folder, { recursive: true }));

it('tells each line once, when it is complete', async () => {
  await file.read();
  expect(told).toEqual([]);
  await writeFile(path(), 'one\ntwo\nthr');
  await file.read();
  expect(told).toEqual(['one', 'two']);
  await file.read();
  await appendFile(path(), 'ee\n\nfour\n');
  await file.read();
  expect(told).toEqual(['one', 'two', 'three', 'four']);
});

it('joins a character whose bytes come apart', async () => {
  const bytes = Buffer.from('é😀\n');
  for (const byte of bytes) {
    await appendFile(path(), Buffer.of(byte));
    await file.read();
  }
  expect(told).toEqual(['é😀']);
});

it('starts again when the file is another one, or shorter', async () => {
  await writeFile(path(), 'one\ntwo\n');
  await file.read();
  await writeFile(`${path()}.new`, 'uno\ndue\ntre\n');
  await rename(`${path()}.new`, path());
  await file.read();
  expect(told).toEqual(['one', 'two', 'RESTARTED', 'uno', 'due', 'tre']);
  await truncate(path(), 4);
  await file.read();
  expect(told.slice(6)).toEqual(['RESTARTED', 'uno']);
});

it('keeps no line in memory that does not end, and continues with the next', async () => {
  await writeFile(path(), 'x'.repeat(9 << 20));
  await file.read();
  await appendFile(path(), '\nnext\n');
  await file.read();
  expect(told.at(-1)).toBe('next');
  expect(Math.max(...told.map(({ length }) => length))).toBeLessThan(2 << 20);
});
