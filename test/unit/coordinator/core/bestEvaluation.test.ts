import { expect, it } from 'vitest';
import { bestOf, describeTurn, evaluationsSinceBest } from '../../../../src/coordinator/core/bestEvaluation.ts';

const evaluations = (...losses: number[]) => losses.map((loss, i) => ({ step: 10 * (i + 1), loss }));

it.each<[number[], number | undefined, number]>([
  [[], undefined, 0],
  [[3, 2, 1], 30, 0],
  [[3, 1, 2, 1], 20, 2],
  [[3, Number.NaN], 10, 1],
  [[Number.NaN, Number.NaN], undefined, 2],
])('of %j the best is at step %s, %s evaluations ago', (losses, step, since) => {
  expect(bestOf(evaluations(...losses))?.step).toBe(step);
  expect(evaluationsSinceBest(evaluations(...losses))).toBe(since);
});

it('says what has turned', () => {
  expect(describeTurn(evaluations(3, 2.4586, 2.5, 2.5576))).toBe(
    'the validation loss has not fallen in 2 evaluations: it was lowest, 2.4586, at step 20, and is 2.5576',
  );
});
