/**
 * A reward model (Ouyang et al., 2022, https://arxiv.org/abs/2203.02155): the head has one output, and the score of a text is its output at the text's
 * last token. The loss of a pair is -log σ(score(chosen) - score(rejected)), as in the model of Bradley and Terry.
 */
import { labelsOf } from '../../architecture/registry.ts';
import { pairFields } from '../../task/pairBatch.ts';
import type { Objective } from './objective.ts';
import { logisticLoss, pairObjective } from './pairs.ts';

/** Targets are 0 where a text is scored, and -1 elsewhere. */
export const reward: Objective = pairObjective({
  name: 'reward',
  modelProblem: (model) =>
    labelsOf(model).length !== 1 ? 'has no score: expected one name in model.labels, such as [reward]' : undefined,
  fields: (model) => pairFields(model, 0),
  values: (tape, model, { tokens }, options) => model.forward(tape, tokens, options), // (2B, T, 1)
  sign: 1,
  loss({ chosen, rejected }) {
    const margin = chosen - rejected;
    const { loss, slope } = logisticLoss(margin);
    return { loss, slopes: { chosen: slope, rejected: -slope }, sums: { accuracy: Number(margin > 0), margin } };
  },
});
