/** The measures of a classification against those of scikit-learn (test/fixtures/classifier/makeMeasures.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { classMeasures, noConfusion } from '../../../src/task/classMeasures.ts';

interface Case {
  readonly classes: number;
  readonly targets: number[];
  readonly predictions: number[];
  readonly accuracy: number;
  readonly macroF1: number;
  readonly precision: number[];
  readonly recall: number[];
  readonly f1: number[];
  readonly support: number[];
  readonly confusion: number[][];
}

const cases: Case[] = JSON.parse(readFileSync(join(packageRoot, 'test/fixtures/classifier/measures.json'), 'utf8'));

it.each(cases)('are those of scikit-learn for $classes classes', (expected) => {
  const confusion = noConfusion(expected.classes);
  for (const [i, target] of expected.targets.entries()) confusion[target]![expected.predictions[i]!]!++;
  const labels = Array.from({ length: expected.classes }, (_, k) => `class ${k}`);
  const measured = classMeasures(confusion, labels);
  expect(measured.confusion).toEqual(expected.confusion);
  expect(measured.accuracy).toBeCloseTo(expected.accuracy, 12);
  expect(measured.macroF1).toBeCloseTo(expected.macroF1, 12);
  for (const [k, { label, precision, recall, f1, support }] of measured.classes.entries()) {
    expect(label).toBe(`class ${k}`);
    expect(support).toBe(expected.support[k]);
    expect(precision).toBeCloseTo(expected.precision[k]!, 12);
    expect(recall).toBeCloseTo(expected.recall[k]!, 12);
    expect(f1).toBeCloseTo(expected.f1[k]!, 12);
  }
});
