/** Generation: one token after another, each sampled from the model's prediction for what came before. A batch of one sequence. */
import type { Engine } from '../engine/engine.ts';
import { DecodeBatch, type DecodeBatchOptions, type SequenceOptions } from './decodeBatch.ts';
import type { Model } from './model.ts';

export interface GenerateOptions extends SequenceOptions, DecodeBatchOptions {
  /** Number of tokens to generate after the prompt. */
  readonly maxTokens: number;
}

/** Yields the generated tokens as they are sampled, without the prompt. Releases its buffers when it ends or the caller stops iterating. */
export async function* generate(
  engine: Engine,
  model: Model,
  options: GenerateOptions,
): AsyncGenerator<number, void, undefined> {
  const batch = new DecodeBatch(engine, model, options);
  try {
    batch.add(options);
    for (let count = 0; count < options.maxTokens; ) {
      for (const { token } of await batch.step()) {
        count++;
        yield token;
      }
    }
  } finally {
    batch.release();
  }
}
