import { expect, it } from 'vitest';
import { starts } from '../../../src/cli/finetune.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { learningRateAt } from '../../../src/coordinator/core/schedule.ts';

it('a translator learns from the first step on: a run on few rows would end within a warm-up', () => {
  const { config: file, settings } = starts.seq2seq;
  const { schedule } = loadConfig({ file, overrides: ['model.from=runs/translate', ...settings], cwd: '/' }).config;
  const steps = 3;
  const rates = [0, steps].map((step) => learningRateAt(step, { ...schedule, decaySteps: steps }));
  expect(rates).toEqual([1e-4, 0]);
});
