/**
 * Cross entropy of the next token of a target, given its source: the objective of a model with an encoder.
 *
 * B batch, T positions of the target, S of the source.
 */
import { hasEncoder, type ModelConfig } from '../../architecture/registry.ts';
import { sourceFields, sourceOf } from '../../task/seq2seq.ts';
import { losses, tokenObjective } from './nextToken.ts';

/** Positions of a source from its length on are padding, which changes nothing. */
export const seq2seq = tokenObjective(
  'seq2seq',
  { fields: sourceFields, modelProblem: sourceProblem },
  (tape, model, batch, options) => {
    const { shape, data, lengths } = sourceOf(batch);
    const tokens = tape.upload(data, [batch.sampleCount, ...shape]); // (B, S)
    return losses(tape, model, batch, { ...options, source: { tokens, lengths } });
  },
);

function sourceProblem(model: ModelConfig): string | undefined {
  return hasEncoder(model) ? undefined : 'has no encoder, which reads the source';
}
