/**
 * The arrays of batches from which a policy learns: rows of prompts and completions, and for each target the numbers of its rollout. They
 * are 0 where a target is masked.
 */
import type { Batch } from '../base/batch.ts';
import { invariant } from '../base/errors.ts';
import type { FieldRule, FieldRules } from './fields.ts';
import { tokenFields, tokenSampleFields } from './nextToken.ts';
import type { Task } from './task.ts';

/** For each target of GRPO: advantage, and log probability under the model that drew it and under the reference. */
const grpoNumbers = ['advantages', 'logprobs', 'reference'] as const;
/** PPO also has the value before the token, and the return that followed. */
const ppoNumbers = [...grpoNumbers, 'values', 'returns'] as const;

type PolicyNumber = (typeof ppoNumbers)[number];

/** The lowest log probability of a token, and the largest of the other numbers. */
const [logprobMin, numberMax] = [-1e6, 1e9];

/** The input of a model of these sizes. */
export function policyFields(kind: 'grpo' | 'ppo', sizes: { blockSize: number; vocabSize: number }): FieldRules {
  const tokens = tokenFields(sizes) as { tokens: FieldRule; targets: FieldRule };
  const rule = (name: PolicyNumber): FieldRule => {
    const isLogprob = name === 'logprobs' || name === 'reference';
    const [min, max] = isLogprob ? [logprobMin, 0] : [-numberMax, numberMax];
    return { dtype: 'float32', axes: tokens.tokens.axes, min, max };
  };
  return { ...tokens, ...Object.fromEntries(numbersOf(kind).map((name) => [name, rule(name)])) };
}

/** The arrays of a sample. */
export function policySampleFields(kind: 'grpo' | 'ppo'): Task<never>['fields'] {
  const field = { dtype: 'float32', padding: 0 } as const;
  return { ...tokenSampleFields, ...Object.fromEntries(numbersOf(kind).map((name) => [name, field])) };
}

/** One of these arrays of a batch, [B·T]. */
export function policyArray({ arrays }: Batch, name: PolicyNumber): Float32Array {
  const data = arrays[name]?.data;
  invariant(
    data instanceof Float32Array,
    `expected a batch of rollouts with ${name}, received ${Object.keys(arrays).join(', ')}`,
  );
  return data;
}

function numbersOf(kind: 'grpo' | 'ppo'): readonly PolicyNumber[] {
  return kind === 'ppo' ? ppoNumbers : grpoNumbers;
}
