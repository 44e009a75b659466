/** The arrays of batches of pairs: a chosen and a rejected sequence, with rows of one length T. A target of -1 is masked. */
import type { Batch, BatchArray, BatchNumbers } from '../base/batch.ts';
import { invariant } from '../base/errors.ts';
import type { FieldRules } from './fields.ts';
import { tokenFields, tokenSampleFields } from './nextToken.ts';
import type { Sample, Task } from './task.ts';

/** The sides of a pair, in the order of their rows. */
const sides = ['chosen', 'rejected'] as const;

/** The input of a model of these sizes. @param targetMax the largest target. Default: that of a token */
export function pairFields(sizes: { blockSize: number; vocabSize: number }, targetMax = sizes.vocabSize - 1) {
  const { tokens, targets } = tokenFields(sizes) as { tokens: FieldRules[string]; targets: FieldRules[string] };
  const labels = { ...targets, max: targetMax };
  return { chosen: tokens, chosenTargets: labels, rejected: tokens, rejectedTargets: labels } satisfies FieldRules;
}

/** The arrays of a pair's sample, without what comes from a reference. */
export const pairSampleFields: Task<never>['fields'] = {
  chosen: tokenSampleFields['tokens']!,
  chosenTargets: tokenSampleFields['targets']!,
  rejected: tokenSampleFields['tokens']!,
  rejectedTargets: tokenSampleFields['targets']!,
};

/** Whether both sides of a pair are equal. The texts may differ: a template may remove spaces. */
export function hasEqualAnswers(pair: Sample): boolean {
  return ['', 'Targets'].every((part) => {
    const [chosen, rejected] = [pair[`chosen${part}`]!, pair[`rejected${part}`]!];
    return chosen.length === rejected.length && Array.from(chosen).every((token, i) => token === rejected[i]);
  });
}

/** For each pair, whether it counts: it has a target on both sides. Padding has none. */
export function countedPairs(batch: Batch): boolean[] {
  return Array.from({ length: batch.sampleCount }, (_, pair) =>
    sides.every((side) => pairNumbers(batch, `${side}Targets`, pair).some((target: number) => target >= 0)),
  );
}

/** The number of pairs that count. */
export function pairWeight(batch: Batch): number {
  return countedPairs(batch).filter(Boolean).length;
}

/** One pair's numbers in an array of the batch. */
export function pairNumbers(batch: Batch, name: string, pair: number): BatchNumbers {
  const { data } = pairArray(batch, name);
  const size = data.length / batch.sampleCount;
  return data.subarray(pair * size, (pair + 1) * size);
}

/** An array of the batch. */
export function pairArray({ arrays }: Batch, name: string): BatchArray {
  const array = arrays[name];
  invariant(array !== undefined, `expected a batch of pairs with ${name}, received ${Object.keys(arrays).join(', ')}`);
  return array;
}
