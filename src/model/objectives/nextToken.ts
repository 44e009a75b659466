/** Cross entropy of the next token, the objective of a language model. B batch, T time, N rows (B·T). */
import { generationProblem } from '../../architecture/registry.ts';
import type { Batch } from '../../base/batch.ts';
import { asTokenBatch, targetsOf, tokenFields } from '../../task/nextToken.ts';
import type { LossOptions, Model } from '../model.ts';
import type { Tape } from '../tape.ts';
import type { Objective, PassSums } from './objective.ts';

export const nextToken: Objective = {
  name: 'next-token',
  modelProblem: generationProblem,
  fields: tokenFields,

  async step(tape, model, batch, { scale: lossScale, dropout, activationRecompute, onForward, onGradReady }) {
    const sums = losses(tape, model, batch, { lossScale, dropout, activationRecompute });
    await onForward?.();
    tape.backward([], onGradReady);
    return sums;
  },

  evaluate: async (tape, model, batch) => losses(tape, model, batch),
};

function losses(tape: Tape, model: Model, batch: Batch, options?: LossOptions): PassSums {
  const { sampleCount: B, arrays } = asTokenBatch(batch);
  const { shape, data: ids } = arrays.tokens;
  const tokens = tape.upload(ids, [B, ...shape]); // (B, T)
  const targets = tape.upload(arrays.targets.data, [ids.length]); // (N)
  return { weight: targetsOf(batch), loss: model.losses(tape, tokens, targets, options).value };
}
