/** The one loop that evaluates: an objective over batches, without dropout and without gradients. */
import type { Batch } from '../base/batch.ts';
import { addSums, noSums, type Sums } from '../base/sums.ts';
import type { Engine } from '../engine/engine.ts';
import type { Precision } from './computing.ts';
import type { Model } from './model.ts';
import { checkObjective, type Objective, readSums } from './objectives/objective.ts';
import { Tape } from './tape.ts';

/** The input of an evaluation. */
export interface Evaluable {
  readonly engine: Engine;
  readonly model: Model;
  readonly objective: Objective;
  /** Default float32. */
  readonly precision?: Precision;
}

/** The sums over all batches. @param onBatch called after each */
export async function evaluateBatches(
  { engine, model, objective, precision }: Evaluable,
  batches: Iterable<Batch>,
  onBatch: (batch: Batch) => void = () => undefined,
): Promise<Sums> {
  checkObjective(objective, model.config);
  let total = noSums;
  for (const batch of batches) {
    const tape = new Tape(engine, precision);
    try {
      total = addSums(total, await readSums(engine, await objective.evaluate(tape, model, batch)));
    } finally {
      tape.discard();
    }
    onBatch(batch);
  }
  return total;
}
