/** A mistyped option of a program in JavaScript is an error, not a default. */
import { expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import type { Trainer } from '../../../src/model/training.ts';
import { checkOptionNames } from '../../../src/run/optionNames.ts';
import { restoreCheckpoint, saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';
import { train } from '../../../src/run/train.ts';
import { loadCheckpoint } from '../../../src/run/trainedModel.ts';

it('is refused before anything begins, with the nearest that exists', async () => {
  const mistyped: object = { confg: { train: { maxSteps: 1 } } };
  await expect(train(mistyped)).rejects.toThrow(UserError);
  await expect(train(mistyped)).rejects.toThrow('train: there is no option confg. Did you mean config?');
  const other: object = { folder: '.' };
  await expect(loadCheckpoint('absent', other)).rejects.toThrow('Options: cwd, engine, best, onWarning.');
  const trainer = {} as Trainer;
  const saved = { step: 1, dataset: {} as Dataset, valloss: 1 };
  await expect(saveCheckpoint('absent', trainer, saved)).rejects.toThrow('saveCheckpoint: there is no option valloss');
  await expect(restoreCheckpoint('absent', trainer, other)).rejects.toThrow('Options: cwd, onWarning.');
});

it('names every option where none is near', () => {
  expect(() => checkOptionNames('f', { zzz: 1 }, { one: true, other: true })).toThrow('Options: one, other.');
  checkOptionNames('f', { one: undefined }, { one: true });
});
