import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkPaths, shorterWarmup, starts } from '../../../src/cli/finetune.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { learningRateAt } from '../../../src/coordinator/core/schedule.ts';

it('a translator learns from the first step on: a run on few rows would end within a warm-up', () => {
  const { config: file, settings } = starts.seq2seq;
  const { schedule } = loadConfig({ file, overrides: ['model.from=runs/translate', ...settings], cwd: '/' }).config;
  const steps = 3;
  const rates = [0, steps].map((step) => learningRateAt(step, { ...schedule, decaySteps: steps }));
  expect(rates).toEqual([1e-4, 0]);
});

it.each([
  ['a tenth of few steps', 50, {}, 0],
  ['the same for each number of steps', 900, {}, 10],
  ["the config's if the run is long", 10_000, {}, undefined],
  ['also where validation has its own rows', 50, { 'data.validation': 'other.jsonl' }, 0],
])('the warm-up is %s', (_, rows, more, expected) => {
  const overrides = [
    ...['model.from=gpt2', 'data.examples=rows.jsonl', ...starts.sft.settings],
    ...Object.entries(more).map((pair) => pair.join('=')),
  ];
  const { config } = loadConfig({ file: starts.sft.config, overrides, cwd: '/' });
  expect(shorterWarmup(config, rows)).toBe(expected);
});

describe('paths', () => {
  let cwd: string;
  beforeAll(() => {
    cwd = mkdtempSync(join(tmpdir(), 'lockstep-finetune-'));
    mkdirSync(join(cwd, 'gpt2'));
    writeFileSync(join(cwd, 'gpt2', 'config.json'), '{}');
    writeFileSync(join(cwd, 'rows.jsonl'), '{}\n');
  });
  afterAll(() => rmSync(cwd, { recursive: true }));

  it.each([
    [
      'gpt2',
      'none.jsonl',
      /no file or folder none\.jsonl in .* Put the path of your rows after the weights: .* finetune gpt2 PATH/,
    ],
    ['none', 'rows.jsonl', /there is no file or folder none in .* Name the weights \(a run/],
    ['none', 'none.jsonl', /there is neither none nor none\.jsonl in /],
    [
      'rows.jsonl',
      'gpt2',
      /gpt2 has weights, and rows\.jsonl has none\. Name the weights first: .* finetune gpt2 rows\.jsonl$/,
    ],
    [
      'https://a.example/b',
      'rows.jsonl',
      /^https:\/\/a\.example\/b: only paths on a disk and s3:.* are read: download/,
    ],
  ])('%s, %s: says what is wrong with them', async (model, rows, message) => {
    await expect(checkPaths({ model, rows }, cwd)).rejects.toThrow(message);
  });

  it.each(['rows.jsonl', 'builtin', '*.jsonl'])('accepts %s', async (rows) => {
    await expect(checkPaths({ model: 'gpt2', rows }, cwd)).resolves.toBeUndefined();
  });
});
