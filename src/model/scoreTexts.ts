/** Scores of texts under a reward model. */
import { labelsOf } from '../architecture/registry.ts';
import { invariant, UserError } from '../base/errors.ts';
import type { Engine } from '../engine/engine.ts';
import { paddedTo } from '../task/task.ts';
import { checkFinite } from './divergence.ts';
import type { Model } from './model.ts';
import { Tape } from './tape.ts';

/**
 * The score of each text: the model's output at its last token. Each text goes through the model alone, so its score does not depend on
 * the others, to the bit.
 * @param texts tokens, at least one and at most blockSize each
 * @throws UserError for a model that does not score texts, and for a score that is not finite
 */
export async function scoreTexts(
  { engine, model }: { readonly engine: Engine; readonly model: Model },
  texts: readonly ArrayLike<number>[],
): Promise<Float64Array> {
  const { blockSize } = model.config;
  if (labelsOf(model.config).length !== 1) {
    throw new UserError('the model does not score texts: expected a reward model, whose model.labels has one name');
  }
  const scores = new Float64Array(texts.length);
  for (const [index, text] of texts.entries()) {
    invariant(text.length >= 1 && text.length <= blockSize, `expected a text of 1 to ${blockSize} tokens`);
    const tokens = new Int32Array(paddedTo(text.length, blockSize));
    tokens.set(text);
    const tape = new Tape(engine);
    try {
      const outputs = await tape.read(model.forward(tape, tape.upload(tokens, [1, tokens.length]))); // (1, T, 1)
      scores[index] = outputs[text.length - 1]!;
    } finally {
      tape.discard();
    }
    checkFinite('the score of a text', scores[index]!);
  }
  return scores;
}
