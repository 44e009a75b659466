/**
 * Direct preference optimization (Rafailov et al., 2023, https://arxiv.org/abs/2305.18290): the loss of a pair is -log σ(margin), where
 * margin = β · ((log π(chosen) - log π(rejected)) - (log π_ref(chosen) - log π_ref(rejected))). The log probabilities under the
 * reference, the model at the start of the run, come with the pair, so no second model is in memory.
 */
import { generationProblem, type ModelConfig } from '../../architecture/registry.ts';
import type { Batch } from '../../base/batch.ts';
import type { FieldRules } from '../../task/fields.ts';
import { pairFields } from '../../task/pairBatch.ts';
import type { Model } from '../model.ts';
import type { Tape } from '../tape.ts';
import type { Objective } from './objective.ts';
import { logisticLoss, type PairScoring, pairObjective, pairScores } from './pairs.ts';

/** The lowest log probability of a sequence: e.g. 10^6 tokens at -100 each. */
const logprobMin = -1e8;

/** A pair, and the log probabilities [2] of its chosen and rejected targets under the reference. */
function dpoFields(model: ModelConfig): FieldRules {
  const axes = [{ name: 'sides', min: 2, max: 2 }];
  return { ...pairFields(model), reference: { dtype: 'float32', axes, min: logprobMin, max: 0 } };
}

/** Losses of targets are their negative log probabilities. */
const logprobs: PairScoring = {
  values: (tape, model, { tokens, targets }, options) => model.losses(tape, tokens, targets, options),
  sign: -1,
};

/** The log probabilities of a batch's targets, summed in float64: [B, 2], chosen and rejected. */
export function pairLogprobs(tape: Tape, model: Model, batch: Batch): Promise<Float64Array> {
  return pairScores(tape, model, batch, logprobs);
}

/** DPO with this β. */
export function dpo({ beta }: { readonly beta: number }): Objective {
  return pairObjective({
    name: 'dpo',
    modelProblem: generationProblem,
    fields: dpoFields,
    ...logprobs,
    loss({ chosen, rejected, field }) {
      const reference = field('reference');
      const margin = beta * (chosen - rejected - (reference[0]! - reference[1]!));
      const { loss, slope } = logisticLoss(margin);
      return {
        loss,
        slopes: { chosen: beta * slope, rejected: -beta * slope },
        sums: { accuracy: Number(margin > 0), margin, chosenLogprob: chosen, rejectedLogprob: rejected },
      };
    },
  });
}
