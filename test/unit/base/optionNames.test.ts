import { expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { checkOptionNames } from '../../../src/base/optionNames.ts';

const names = { one: true, other: true } as const;

it('refuses the first unknown option, with the nearest known one or all of them', () => {
  expect(() => checkOptionNames('f', { one: 1, othr: 1 }, names)).toThrow(UserError);
  expect(() => checkOptionNames('f', { one: 1, othr: 1 }, names)).toThrow(
    'unknown option othr of f. Did you mean other?',
  );
  expect(() => checkOptionNames('f', { zzz: 1 }, names)).toThrow('unknown option zzz of f. Options: one, other.');
  expect(() => checkOptionNames('f', { constructor: 1 }, names)).toThrow('unknown option constructor of f');
  checkOptionNames('f', { one: undefined }, names);
});

it('refuses what is not an object', () => {
  for (const [given, shown] of [
    ['quickstart', '"quickstart"'],
    [null, 'null'],
    [undefined, 'undefined'],
    [7, '7'],
  ] as const) {
    expect(() => checkOptionNames('f', given as never, names)).toThrow(
      `the options of f: expected an object, received ${shown}`,
    );
  }
});
