/**
 * Direct preference optimization (Rafailov et al., 2023, https://arxiv.org/abs/2305.18290): the loss of a pair is -log σ(margin), where
 * margin = β · ((log π(chosen) - log π(rejected)) - (log π_ref(chosen) - log π_ref(rejected))). The log probabilities under the
 * reference, the model at the start of the run, come with the pair, so no second model is in memory.
 */
import type { ModelConfig } from '../../architecture/registry.ts';
import type { FieldRules } from '../../task/fields.ts';
import { pairFields } from '../../task/pairBatch.ts';
import type { Objective } from './objective.ts';
import { logisticLoss, pairObjective } from './pairs.ts';

/** The lowest log probability of a sequence: e.g. 10^6 tokens at -100 each. */
const logprobMin = -1e8;

/** A pair, and the log probabilities [2] of its chosen and rejected targets under the reference. */
function dpoFields(model: ModelConfig): FieldRules {
  const axes = [{ name: 'sides', max: 2 }];
  return { ...pairFields(model), reference: { dtype: 'float32', axes, min: logprobMin, max: 0 } };
}

/** DPO with this β. */
export function dpo({ beta }: { readonly beta: number }): Objective {
  return pairObjective({
    name: 'dpo',
    fields: dpoFields,
    // Losses of targets: their negative log probabilities.
    values: (tape, model, { tokens, targets }, options) => model.losses(tape, tokens, targets, options),
    sign: -1,
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
