/**
 * Classification: cross entropy of a classification head (`model.labels`) at the targets. A sample usually has one target, the index of
 * its class at its last token; the other positions are masked.
 *
 * B batch, T time, N rows (B·T), K classes.
 */
import { labelsOf, type ModelConfig } from '../../architecture/registry.ts';
import type { Batch } from '../../base/batch.ts';
import type { Tensor } from '../../engine/tensor.ts';
import type { FieldRules } from '../../task/fields.ts';
import { asTokenBatch, targetsOf, tokenFields } from '../../task/nextToken.ts';
import { tokenLogprobs } from '../logprobs.ts';
import type { Model } from '../model.ts';
import type { Tape } from '../tape.ts';
import type { Objective } from './objective.ts';

/** Cross entropy of the classes. Evaluation adds the sum `accuracy`, the number of targets with the largest logit. */
export const classes: Objective = {
  name: 'classes',
  modelProblem: (model) =>
    labelsOf(model).length < 2 ? 'has no classes: expected the names of at least two in model.labels' : undefined,
  fields: classFields,

  async step(tape, model, batch, { scale: lossScale, dropout, activationRecompute, onForward, onGradReady }) {
    const { data } = asTokenBatch(batch).arrays.targets;
    const targets = tape.upload(data, [data.length]); // (N)
    const losses = model.losses(tape, upload(tape, batch), targets, { lossScale, dropout, activationRecompute });
    await onForward?.();
    tape.backward([], onGradReady);
    return { weight: targetsOf(batch), loss: losses.value };
  },

  async evaluate(tape, model, batch) {
    const sums = { weight: 0, loss: 0, accuracy: 0 };
    for (const { target, logits } of await logitsAtTargets(tape, model, batch)) {
      const { logprob, top } = tokenLogprobs(logits, target, 1);
      sums.weight++;
      sums.loss -= logprob;
      sums.accuracy += Number(top[0]!.token === target);
    }
    return sums;
  },
};

/** The logits of one target. */
export interface TargetLogits {
  /** Its sample in the batch. */
  readonly sample: number;
  /** -1 does not occur. */
  readonly target: number;
  /** [K]. */
  readonly logits: Float32Array;
}

/** The logits at every target of a batch, in order. It has no backward. */
export async function logitsAtTargets(tape: Tape, model: Model, batch: Batch): Promise<TargetLogits[]> {
  const numbers = await tape.read(model.forward(tape, upload(tape, batch))); // (B, T, K)
  const { data } = asTokenBatch(batch).arrays.targets;
  const [T, K] = [data.length / batch.sampleCount, numbers.length / data.length];
  return Array.from(data, (target, n) => ({
    sample: Math.floor(n / T),
    target,
    logits: numbers.subarray(n * K, (n + 1) * K),
  })).filter(({ target }) => target >= 0);
}

function classFields(model: ModelConfig): FieldRules {
  const { tokens, targets } = tokenFields(model) as { tokens: FieldRules[string]; targets: FieldRules[string] };
  return { tokens, targets: { ...targets, max: labelsOf(model).length - 1 } };
}

function upload(tape: Tape, batch: Batch): Tensor {
  const { sampleCount: B, arrays } = asTokenBatch(batch);
  return tape.upload(arrays.tokens.data, [B, ...arrays.tokens.shape]); // (B, T)
}
