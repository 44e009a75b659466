/** A mistyped option of a program in JavaScript is an error, not a default. */
import { expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { checkOptionNames } from '../../../src/run/optionNames.ts';
import { train } from '../../../src/run/train.ts';
import { loadCheckpoint } from '../../../src/run/trainedModel.ts';

it('is refused before anything begins, with the nearest that exists', async () => {
  const mistyped: object = { confg: { train: { maxSteps: 1 } } };
  await expect(train(mistyped)).rejects.toThrow(UserError);
  await expect(train(mistyped)).rejects.toThrow('train: there is no option confg. Did you mean config?');
  const other: object = { folder: '.' };
  await expect(loadCheckpoint('absent', other)).rejects.toThrow('Options: cwd, engine, best, onWarning.');
});

it('names every option where none is near', () => {
  expect(() => checkOptionNames('f', { zzz: 1 }, { one: true, other: true })).toThrow('Options: one, other.');
  checkOptionNames('f', { one: undefined }, { one: true });
});
