import { expect, it } from 'vitest';
import { choiceMeasures, continuations, parseChoice } from '../../../src/task/choices.ts';
import { refusalOf } from './refusal.ts';

const row = { ctx: 'A man sits.', endings: ['He stands.', 'He flies.'], label: 1 };
const at = 'hellaswag.jsonl:5';

it("parses HellaSwag's rows, whose labels are numbers or texts, and ignores its other keys", () => {
  const expected = { at, context: 'A man sits.', endings: row.endings, label: 1 };
  expect(parseChoice(row, at)).toEqual(expected);
  const others = { ind: 24, activity_label: 'Sitting', ctx_a: 'A man sits.', ctx_b: '', split: 'val', source_id: 'x' };
  expect(parseChoice({ ...others, ...row, ctx: 'A man sits. ', label: '1' }, at)).toEqual(expected);
});

it.each([
  [{ ctx: undefined }, 'expected a text in ctx, received nothing.'],
  [{ ctx: ' ' }, 'expected a text in ctx, but it is empty.'],
  [{ endings: 'He stands.' }, 'expected an array of at least two texts in endings, received "He stands.".'],
  [{ endings: ['one'] }, 'expected an array of at least two texts in endings, received ["one"].'],
  [{ endings: ['one', ''] }, 'expected a text in endings[1], received "".'],
  [{ endings: ['one', 2] }, 'expected a text in endings[1], received 2.'],
  [{ label: 2 }, 'expected the index of the right ending in label, from 0 to 1, received 2.'],
  [{ label: -1 }, 'expected the index of the right ending in label, from 0 to 1, received -1.'],
  [{ label: 0.5 }, 'expected the index of the right ending in label, from 0 to 1, received 0.5.'],
  [{ label: 'He flies.' }, 'expected the index of the right ending in label, from 0 to 1, received "He flies.".'],
  [
    { label: '' },
    'expected the index of the right ending in label, from 0 to 1, received "". Use a split that has labels.',
  ],
])('refuses %j with the place', (changed, message) => {
  expect(refusalOf(() => parseChoice({ ...row, ...changed }, at))).toBe(`${at}: ${message}`);
});

it('joins an ending to its context with one space', () => {
  expect(continuations({ endings: ['He', ' He', '\nHe'] })).toEqual([' He', ' He', '\nHe']);
});

it('chooses by log probability, and by log probability per UTF-8 byte', () => {
  // 'é' and '…' have 2 and 3 bytes: -6 / 5 is above -4 / 3, though -6 / 2 characters would be below.
  const choices = [
    { endings: ['abc', 'é…'], label: 0 },
    { endings: ['abc', 'é…'], label: 1 },
    { endings: ['a', 'b', 'c', 'd'], label: 3 },
  ];
  const logprobs = [
    [-4, -6],
    [-4, -6],
    [-1, -1, -1, -0.5],
  ];
  expect(choiceMeasures(choices, logprobs)).toEqual({ rows: 3, acc: 2 / 3, accNorm: 2 / 3, chance: 1.25 / 3 });
  expect(choiceMeasures(choices.slice(1), logprobs.slice(1))).toMatchObject({ acc: 0.5, accNorm: 1 });
  // A tie goes to the first; what is not a number is never chosen.
  expect(choiceMeasures([{ endings: ['a', 'b'], label: 0 }], [[-1, -1]]).acc).toBe(1);
  expect(choiceMeasures([{ endings: ['a', 'b'], label: 0 }], [[Number.NaN, Number.NaN]]).acc).toBe(0);
});
