/**
 * Next-token prediction: the arrays of its samples, and the task that creates them from windows of a text. Everything that predicts
 * tokens has samples of this form: a target of -1 is masked.
 */
import type { Batch, BatchArray } from '../base/batch.ts';
import { invariant, UserError } from '../base/errors.ts';
import type { FieldRules } from './fields.ts';
import type { Task } from './task.ts';

/** Samples of next-token prediction. */
export interface TokenBatch extends Batch {
  /** T: positions of a sample. */
  readonly arrays: {
    /** (B, T). */
    readonly tokens: BatchArray<Int32Array>;
    /** (B, T): the token that follows each, or -1 if there is nothing to predict. */
    readonly targets: BatchArray<Int32Array>;
  };
}

/** The input of a model of these sizes. */
export function tokenFields({ blockSize, vocabSize }: { blockSize: number; vocabSize: number }): FieldRules {
  const axes = [{ name: 'T', max: blockSize }];
  return {
    tokens: { dtype: 'int32', axes, min: 0, max: vocabSize - 1 },
    targets: { dtype: 'int32', axes, min: -1, max: vocabSize - 1 },
  };
}

/** A batch of rows of `blockSize` tokens and their targets, row after row. */
export function tokenBatch(tokens: Int32Array, targets: Int32Array, blockSize: number): TokenBatch {
  const sampleCount = tokens.length / blockSize;
  invariant(
    Number.isInteger(sampleCount) && targets.length === tokens.length,
    `expected rows of ${blockSize} tokens and as many targets, received ${tokens.length} and ${targets.length}`,
  );
  const shape = [blockSize];
  return { sampleCount, arrays: { tokens: { shape, data: tokens }, targets: { shape, data: targets } } };
}

/** The batch as a batch of tokens. */
export function asTokenBatch({ sampleCount, arrays }: Batch): TokenBatch {
  const { tokens, targets } = arrays as Partial<Record<string, BatchArray>>;
  invariant(
    tokens !== undefined && targets !== undefined,
    `expected a batch of tokens and targets, received ${Object.keys(arrays).join(', ')}`,
  );
  const [ids, labels] = [tokens.data, targets.data];
  invariant(ids instanceof Int32Array && labels instanceof Int32Array, 'expected tokens and targets of type int32');
  invariant(ids.length === labels.length, `expected as many targets as tokens: ${ids.length}, not ${labels.length}`);
  return {
    sampleCount,
    arrays: { tokens: { shape: tokens.shape, data: ids }, targets: { shape: targets.shape, data: labels } },
  };
}

/** The number of unmasked targets in a batch. */
export function targetsOf(batch: Batch): number {
  const { data } = asTokenBatch(batch).arrays.targets;
  let count = 0;
  // An iterator would take ten times as long.
  for (let i = 0; i < data.length; i++) if (data[i]! >= 0) count++;
  return count;
}

/** The arrays of a sample that predicts tokens; padding has no targets. */
export const tokenSampleFields: Task<never>['fields'] = {
  tokens: { dtype: 'int32', padding: 0 },
  targets: { dtype: 'int32', padding: -1 },
};

/** Consecutive tokens of a text. */
export type TokenWindow = Uint16Array | Uint32Array;

/** Windows of a text: each token is predicted from those before it in the window. */
export const nextTokenWindows: Task<TokenWindow> = {
  name: 'next-token windows',
  objective: 'next-token',
  fields: tokenSampleFields,
  parse(window, at) {
    if (window.length >= 2) return window;
    throw new UserError(`${at}: expected at least 2 tokens, one to predict from another, received ${window.length}`);
  },
  encode: (window) => ({ tokens: window.subarray(0, -1), targets: window.subarray(1) }),
  weight: targetsOf,
};
