import { expect, it } from 'vitest';
import { parseLine } from '../../../src/records/runLines.ts';

it('keeps what an objective measures besides its loss, of steps and of evaluations', () => {
  const step = { step: 1, loss: 1, lr: 1, gradNorm: 1, tokens: 8, term: 1, means: { accuracy: 0.5 }, ranks: [] };
  expect(parseLine(JSON.stringify(step))).toEqual({ kind: 'step', line: step });
  const validation = { step: 1, valLoss: 1, means: { accuracy: null } };
  expect(parseLine(JSON.stringify(validation))).toMatchObject({ line: { means: { accuracy: Number.NaN } } });
});

it('knows no line of which a part is missing', () => {
  expect(parseLine('{"step":1,"loss":1}')).toBeUndefined();
  expect(parseLine('{"step":1,"lo')).toBeUndefined();
});
