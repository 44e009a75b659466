/** BLEU against that of sacrebleu (test/fixtures/bleu/makeBleu.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { addBleuCounts, type BleuCounts, bleuCounts, bleuOf, noBleuCounts } from '../../../src/task/bleu.ts';

interface Case extends BleuCounts {
  readonly name: string;
  readonly texts: string[];
  readonly references: string[];
  readonly bleu: number;
  readonly precisions: number[];
  readonly brevityPenalty: number;
}

const cases: Case[] = JSON.parse(readFileSync(join(packageRoot, 'test/fixtures/bleu/scores.json'), 'utf8'));

const countsOf = ({ texts, references }: Case) => texts.map((text, i) => bleuCounts(text, references[i]!));

it.each(cases)('is that of sacrebleu: $name', (expected) => {
  const counts = countsOf(expected).reduce(addBleuCounts, noBleuCounts);
  const { matches, totals, length, referenceLength } = expected;
  expect(counts).toEqual({ matches, totals, length, referenceLength });
  const { bleu, precisions, brevityPenalty } = bleuOf(counts);
  expect(bleu).toBeCloseTo(expected.bleu, 10);
  expect(brevityPenalty).toBeCloseTo(expected.brevityPenalty, 12);
  for (const [i, precision] of precisions.entries()) expect(precision).toBeCloseTo(expected.precisions[i]!, 10);
});

it('is the same however the texts are divided', () => {
  const counts = countsOf(cases[1]!);
  const all = counts.reduce(addBleuCounts, noBleuCounts);
  const parts = [counts.slice(0, 7), counts.slice(7, 40), counts.slice(40)];
  const ofParts = parts
    .map((part) => part.reduce(addBleuCounts, noBleuCounts))
    .reduceRight(addBleuCounts, noBleuCounts);
  expect(ofParts).toEqual(all);
});
