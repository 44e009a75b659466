/** Packs of an example set (task.pack): short examples share a sample, from which they are trained as if each had its own. */
import { createHash } from 'node:crypto';
import { grouped } from '../../base/numberText.ts';
import { packedTask, packSamples, planPacks } from '../../task/packing.ts';
import type { Sample } from '../../task/task.ts';
import { lengthOf } from './exampleSamples.ts';
import type { ExampleSet } from './exampleSet.ts';

/** The set whose samples are packs of at most blockSize tokens. Every example is in exactly one. */
export function packExamples(set: ExampleSet, blockSize: number): ExampleSet {
  const { fields } = set.form;
  const packed = (samples: readonly Sample[]): Sample[] => {
    const lengths = samples.map((sample) => lengthOf(fields, sample));
    return planPacks(lengths, blockSize).map((pack) => packSamples(pack.map((i) => samples[i]!)));
  };
  const train = packed(set.train);
  return {
    ...set,
    form: packedTask(set.form),
    train,
    validation: packed(set.validation),
    description: `${set.description}, in ${grouped(train.length)} packs`,
    // The packs follow from the samples and the length of a pack.
    sha256: createHash('sha256').update(`${set.sha256} packed ${blockSize}`).digest('hex'),
  };
}
