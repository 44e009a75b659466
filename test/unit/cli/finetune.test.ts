import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkPaths, rateFor, starts } from '../../../src/cli/finetune.ts';
import { fittingLength } from '../../../src/cli/fittingLength.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { learningRateAt } from '../../../src/coordinator/core/schedule.ts';

it('a translator learns from the first step on: a run on few rows would end within a warm-up', () => {
  const { config: file, settings } = starts.seq2seq;
  const { schedule } = loadConfig({ file, overrides: ['model.from=runs/translate', ...settings], cwd: '/' }).config;
  const steps = 3;
  const rates = [0, steps].map((step) => learningRateAt(step, { ...schedule, decaySteps: steps }));
  expect(rates).toEqual([1e-4, 0]);
});

describe('the length suits the rows', () => {
  const lengthFor = (kind: keyof typeof starts, rows: number, ...more: string[]) => {
    const { config: file, settings } = starts[kind];
    const keys = more.map((setting) => setting.split('=')[0]);
    const own = settings.filter((setting) => !keys.includes(setting.split('=')[0]));
    const overrides = ['model.from=gpt2', 'data.examples=rows.jsonl', 'schedule.learningRate=5e-5', ...own, ...more];
    const { config } = loadConfig({ file, overrides, cwd: '/' });
    return fittingLength(config, rows, (key) => keys.includes(key));
  };

  it('ten rows: small batches and more epochs', () => {
    expect(lengthFor('sft', 10)).toEqual({
      settings: [
        ...['train.epochs=23', 'train.globalBatchSize=2', 'train.microBatchSize=2'],
        ...['train.logEverySteps=10', 'schedule.warmupSteps=10'],
      ],
      notice: 'few rows: 9 to train on, each used 23 times, in 104 steps of 2',
    });
  });

  it.each([
    ['smaller batches come first', 'sft', 500, 'train.globalBatchSize=8'],
    ['a classifier keeps its epochs', 'classify', 200, 'train.globalBatchSize=4'],
    ['no more than 25 epochs', 'sft', 5, 'train.epochs=25'],
    ['a translator', 'seq2seq', 40, 'train.epochs=6'],
    ['pairs count steps, so that few would be used too often', 'dpo', 10, 'train.globalBatchSize=2'],
    ['two pairs are used no more than 25 times either', 'dpo', 2, 'train.maxSteps=25'],
  ] as const)('%s', (_, kind, rows, setting) => {
    expect(lengthFor(kind, rows).settings).toContain(setting);
  });

  it.each([
    ['sft', 1_000],
    ['classify', 2_000],
    ['dpo', 100],
  ] as const)('%s: %i rows are enough', (kind, rows) => {
    const { settings, notice } = lengthFor(kind, rows);
    expect(settings.filter((setting) => setting.startsWith('train.'))).toEqual([]);
    expect(notice).toBeUndefined();
  });

  it.each([
    ['the batch', ['train.globalBatchSize=16'], { changes: 'train.epochs=25' }],
    ['the epochs', ['train.epochs=40'], { changes: 'train.globalBatchSize=2' }],
    ['the micro-batch', ['train.microBatchSize=4'], { changes: 'train.globalBatchSize=4' }],
    ['the workers', ['train.workers=4'], { changes: 'train.globalBatchSize=4' }],
  ])('what the user chose stays: %s', (_, more, { changes }) => {
    const { settings } = lengthFor('sft', 10, ...more);
    expect(settings).toContain(changes);
    for (const key of more.map((setting) => setting.split('=')[0])) {
      expect(settings.some((setting) => setting.startsWith(`${key}=`))).toBe(false);
    }
  });

  it('says so if the run is too short to learn', () => {
    const chosen = ['train.epochs=2', 'train.globalBatchSize=16'];
    expect(lengthFor('sft', 10, ...chosen).notice).toBe(
      '2 steps at a learning rate of 0.00005 hardly change a model: use train.globalBatchSize=2 train.microBatchSize=1 train.epochs=23',
    );
    expect(lengthFor('sft', 40, 'train.epochs=2', 'train.globalBatchSize=16').notice).toMatch(/: use train.epochs=25$/);
    expect(lengthFor('sft', 1).notice).toMatch(/^13 steps .*: use more rows$/);
    expect(lengthFor('dpo', 1, 'train.epochs=1').notice).toMatch(/^1 step .* hardly changes a model: use more rows$/);
    expect(lengthFor('sft', 10, 'train.globalBatchSize=12', 'train.microBatchSize=6').notice).toMatch(
      /^19 steps .*: use train.globalBatchSize=2 train.microBatchSize=1$/,
    );
    expect(lengthFor('sft', 1_000, 'train.epochs=0', 'train.maxSteps=9').notice).toMatch(/: use train.maxSteps=100$/);
  });

  it('counts the epochs, though the last batch is smaller', () => {
    expect(lengthFor('sft', 10, 'train.workers=8').notice).toBe(
      'few rows: 9 to train on, each used 25 times, in 29 steps of 8',
    );
  });

  it.each([1, 4])('%i rows are too few to hold one out', (rows) => {
    expect(lengthFor('sft', rows).settings.slice(0, 2)).toEqual(['data.valFraction=0', 'eval.everySteps=0']);
    expect(lengthFor('sft', rows, 'data.validation=other.jsonl').settings[0]).toMatch(/^train/);
  });

  it('leaves runs whose steps do not follow from the rows', () => {
    const rollouts = ['task.kind=grpo', 'task.reward=contains', 'eval.everySteps=0'];
    expect(lengthFor('sft', 10, ...rollouts)).toEqual({ settings: [], notice: undefined });
    expect(lengthFor('sft', 10, 'task.pack=true')).toEqual({ settings: ['schedule.warmupSteps=0'], notice: undefined });
  });

  it.each([
    ['a tenth of few steps', 1_200, [], 'schedule.warmupSteps=13'],
    ["the config's if the run is long", 10_000, [], undefined],
    ['also where validation has its own rows', 1_200, ['data.validation=other.jsonl'], 'schedule.warmupSteps=15'],
  ])('the warm-up is %s', (_, rows, more, expected) => {
    expect(lengthFor('sft', rows, ...more).settings).toEqual(expected === undefined ? [] : [expected]);
  });
});

it.each([
  ['GPT-2', 124e6, false, 5e-5],
  ['LoRA on GPT-2', 124e6, true, 3e-4],
  ['a larger model', 1.2e9, false, 5e-5],
  ['the model of configs/sft.yaml', 808_448, false, 6e-4],
  ['a toy', 10_000, true, 1e-3],
])('the rate of %s', (_, parameters, isLora, rate) => {
  expect(rateFor(parameters, isLora)).toBe(rate);
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
