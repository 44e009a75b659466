import { expect, it } from 'vitest';
import yargs from 'yargs';
import { UserError } from '../../../src/base/errors.ts';
import { setProgram } from '../../../src/base/ownCommand.ts';
import { checkArguments } from '../../../src/cli/checkArguments.ts';

setProgram('launch');

/** As main.ts does it, over options of every kind. */
function check(...typed: string[]): true {
  const parsed = yargs(typed)
    .exitProcess(false)
    .options({
      workers: { alias: 'w', type: 'number' },
      'min-workers': { type: 'number' },
      set: { type: 'string', array: true },
      resume: { type: 'string' },
      config: { alias: 'c', type: 'string' },
      json: { type: 'boolean', default: false },
    })
    .parseSync();
  return checkArguments(parsed, typed, ['json']);
}

it.each([
  [[]],
  [['--workers', '2', '-c', 'x.yaml', '--json']],
  [['--set', 'a=1', 'b=2', '--set', 'c=']],
  [['--set', 'a=1', '--set', 'a= 1']],
  [['--resume']],
  [['train', 'twice', 'twice']],
  [['--no-json']],
])('takes %j', (typed) => {
  expect(check(...typed)).toBe(true);
});

it.each([
  [['--workers', 'two'], '--workers: expected a number, received "two"'],
  [['--workers', ''], '--workers: expected a number, received ""'],
  [['--workers= '], '--workers: expected a number, received " "'],
  [['--workers=two'], '--workers: expected a number, received "two"'],
  [['-w', '2x'], '-w: expected a number, received "2x"'],
  [['--minWorkers', 'x'], '--minWorkers: expected a number, received "x"'],
  [['--workers', '1', '-w', '2'], '--workers was given 2 times: give it once'],
  [['--config', 'a', '--config', 'a'], '--config was given 2 times: give it once'],
  [['--config='], '--config: expected a non-empty text'],
  [['--set', 'a=1', 'b=2', '--set', 'a=3'], '--set a=1 and --set a=3 give a two values: leave one out'],
])('refuses %j', (typed, message) => {
  expect(() => check(...typed)).toThrow(new UserError(message));
});

it('the argument and --checkpoint may name one checkpoint, written in two ways', () => {
  const typed = ['generate', 'runs/x', '--checkpoint=./runs/x/'];
  expect(checkArguments({ checkpoint: 'runs/x' }, typed)).toBe(true);
  expect(() => checkArguments({ checkpoint: 'runs/y' }, typed)).toThrow('name two checkpoints: give one');
});

it('only switches can be negated', () => {
  expect(() => check('--no-config')).toThrow(
    new UserError('--no-config: --config takes a value and cannot be negated: omit it'),
  );
  expect(() => check('--no-min-workers')).toThrow('--no-min-workers: --min-workers takes a value');
});
