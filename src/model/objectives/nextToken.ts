/** Cross entropy of the next token, the objective of a language model. B batch, T time, N rows (B·T). */
import { generationProblem } from '../../architecture/registry.ts';
import type { Batch } from '../../base/batch.ts';
import { asTokenBatch, targetsOf, tokenFields } from '../../task/nextToken.ts';
import { packedFields, startsOf } from '../../task/packing.ts';
import type { LossOptions, Model } from '../model.ts';
import type { Tape } from '../tape.ts';
import type { Variable } from '../variable.ts';
import type { Objective, PassSums } from './objective.ts';

export const nextToken = tokenObjective('next-token', { fields: tokenFields, modelProblem: generationProblem }, losses);

/**
 * The same for samples that hold several documents. A document's losses and gradients are those that it has in a sample of its own: its
 * tokens attend to no others, and its positions count from its start.
 */
export const packedTokens = tokenObjective(
  'packed-tokens',
  { fields: packedFields, modelProblem: generationProblem },
  (tape, model, batch, options) => {
    const { shape, data } = startsOf(batch);
    return losses(tape, model, batch, { ...options, starts: tape.upload(data, [batch.sampleCount, ...shape]) });
  },
);

/** Cross entropy of predicted tokens, from the sums of one pass. */
export function tokenObjective(
  name: string,
  input: Pick<Objective, 'fields' | 'modelProblem'>,
  compute: (tape: Tape, model: Model, batch: Batch, options?: LossOptions) => PassSums,
): Objective {
  return {
    name,
    ...input,

    async step(tape, model, batch, { scale: lossScale, dropout, activationRecompute, onForward, onGradReady }) {
      const sums = compute(tape, model, batch, { lossScale, dropout, activationRecompute });
      await onForward?.();
      tape.backward([], onGradReady);
      return sums;
    },

    evaluate: async (tape, model, batch) => compute(tape, model, batch),
  };
}

/** The losses of a batch of tokens and targets. */
export function losses(tape: Tape, model: Model, batch: Batch, options?: LossOptions): PassSums {
  return { weight: targetsOf(batch), loss: targetLosses(tape, model, batch, options).value };
}

function targetLosses(tape: Tape, model: Model, batch: Batch, options?: LossOptions): Variable {
  const { sampleCount: B, arrays } = asTokenBatch(batch);
  const { shape, data: ids } = arrays.tokens;
  const tokens = tape.upload(ids, [B, ...shape]); // (B, T)
  const targets = tape.upload(arrays.targets.data, [ids.length]); // (N)
  return model.losses(tape, tokens, targets, options); // (N)
}

/** The log probability of the targets of each sample, in nats, summed in float64: [B]. It has no backward. */
export async function targetLogprobs(tape: Tape, model: Model, batch: Batch): Promise<Float64Array> {
  const losses = await tape.read(targetLosses(tape, model, batch));
  const length = losses.length / batch.sampleCount;
  const logprobs = new Float64Array(batch.sampleCount);
  for (const [n, target] of asTokenBatch(batch).arrays.targets.data.entries()) {
    if (target >= 0) logprobs[Math.floor(n / length)]! -= losses[n]!;
  }
  return logprobs;
}
