/** Pairs for preference optimization: their samples are complete with the log probabilities of both answers under a reference. */
import type { Sample, SampleField } from '../../task/task.ts';
import type { ExampleSet } from './exampleSet.ts';

const name = 'reference';
/** Chosen and rejected. */
const field: SampleField = { dtype: 'float32', padding: 0, length: 2 };

/** Whether the objective needs numbers that rows do not have. */
export function lacksReference({ form }: Pick<ExampleSet, 'form'>): boolean {
  return form.objective === 'dpo' && !(name in form.fields);
}

/** The same examples with the reference. @param values [pairs, 2] each */
export function completePairs(set: ExampleSet, values: { train: Float32Array; validation: Float32Array }): ExampleSet {
  const complete = (samples: readonly Sample[], logprobs: Float32Array) =>
    samples.map((sample, pair) => ({ ...sample, [name]: logprobs.subarray(2 * pair, 2 * pair + 2) }));
  return {
    ...set,
    form: { ...set.form, fields: { ...set.form.fields, [name]: field } },
    train: complete(set.train, values.train),
    validation: complete(set.validation, values.validation),
  };
}
