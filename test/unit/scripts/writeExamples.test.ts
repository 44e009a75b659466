import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

const root = join(import.meta.dirname, '..', '..', '..');

test('the example data is what its script writes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-examples-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  execFileSync(process.execPath, [join(root, 'scripts', 'write-examples.mjs'), folder]);
  for (const name of ['instructions.jsonl', 'numbers.tsv', 'preferences.jsonl', 'reviews.csv']) {
    expect(readFileSync(join(folder, name), 'utf8'), name).toBe(readFileSync(join(root, 'data', name), 'utf8'));
  }
});

test('every instruction has one right answer', () => {
  const lines = readFileSync(join(root, 'data', 'instructions.jsonl'), 'utf8')
    .trim()
    .split('\n');
  const rows = lines.map((line) => JSON.parse(line) as { instruction: string; input: string; output: string });
  const asked = new Set(rows.map(({ instruction, input }) => `${instruction} ${input}`));
  expect(asked.size).toBe(rows.length);
  const reversed = rows.filter(({ instruction }) => instruction === 'Reverse the word.');
  expect(reversed).toHaveLength(rows.length / 4);
  for (const { input, output } of reversed) expect(output).toBe([...input].reverse().join(''));
});

test('numbers have the words of both languages', () => {
  const lines = readFileSync(join(root, 'data', 'numbers.tsv'), 'utf8')
    .trim()
    .split('\n');
  expect(new Set(lines).size).toBe(lines.length);
  const known: readonly [string, string][] = [
    ['two thousand two hundred and forty-nine', 'dos mil doscientos cuarenta y nueve'],
    ['one thousand two hundred and ninety', 'mil doscientos noventa'],
  ];
  for (const pair of known) expect(lines).toContain(pair.join('\t'));
});
