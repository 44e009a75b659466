/**
 * An objective turns a batch into gradients and named sums. It runs on a tape, and does not know that training is
 * distributed: its sums and gradients add up over microbatches and ranks, because a target's loss has the same weight in all of them.
 */
import type { ModelConfig } from '../../architecture/registry.ts';
import type { Batch } from '../../base/batch.ts';
import { UserError } from '../../base/errors.ts';
import type { Sums } from '../../base/sums.ts';
import type { Engine } from '../../engine/engine.ts';
import type { Tensor } from '../../engine/tensor.ts';
import type { FieldRules } from '../../task/fields.ts';
import type { ActivationRecompute } from '../computing.ts';
import type { Model } from '../model.ts';
import type { DropoutSource } from '../pass.ts';
import type { Tape } from '../tape.ts';

/**
 * Sums of a pass, some of which may still be on the device: a tensor stands for the sum of its float32 numbers. The caller of the pass
 * must start to read them before the tape is discarded.
 */
export interface PassSums extends Readonly<Record<string, number | Tensor>> {
  /** The weight of the batch's targets; 0 if all are masked. */
  readonly weight: number;
  /** The sum of their losses, unscaled, in nats. */
  readonly loss: number | Tensor;
}

/** How a training pass runs. */
export interface StepOptions {
  /** The weight of each target's loss in the gradient: 1 / (weight of the global batch). */
  readonly scale: number;
  /** Absent: nothing is dropped. */
  readonly dropout?: DropoutSource | undefined;
  /** Default `none`. */
  readonly activationRecompute?: ActivationRecompute | undefined;
  /** Called with the index of each parameter when its gradient from this pass is final. */
  readonly onGradReady?: ((parameterIndex: number) => void) | undefined;
  /** Awaited between forward and backward. */
  readonly onForward?: (() => Promise<void>) | undefined;
}

export interface Objective {
  /** The name in `welcome` and in a task. */
  readonly name: string;
  /** Why it cannot train or evaluate this model, after "the model"; undefined if it can. Absent: it can with every model. */
  readonly modelProblem?: (model: ModelConfig) => string | undefined;
  /** The arrays of a sample, for a model of these sizes. */
  readonly fields: (model: ModelConfig) => FieldRules;
  /** Forward and backward: adds the gradient of scale · (sum of losses). */
  readonly step: (tape: Tape, model: Model, batch: Batch, options: StepOptions) => Promise<PassSums>;
  /** Only forward, without dropout. */
  readonly evaluate: (tape: Tape, model: Model, batch: Batch) => Promise<PassSums>;
}

/** Throws a UserError if the objective cannot train or evaluate this model. */
export function checkObjective({ name, modelProblem }: Objective, model: ModelConfig): void {
  const problem = modelProblem?.(model);
  if (problem !== undefined) throw new UserError(`objective ${name}: the model ${problem}`);
}

/**
 * The sums as numbers; tensors are added up in float64. All reads are enqueued within the call, so the tensors may be
 * released after it.
 */
export async function readSums(engine: Engine, { weight, loss, ...others }: PassSums): Promise<Sums> {
  const reads = Object.entries({ ...others, loss }).map(
    async ([name, sum]) => [name, await readSum(engine, sum)] as const,
  );
  const read = Object.fromEntries(await Promise.all(reads));
  return { ...read, weight, loss: read['loss']! };
}

async function readSum(engine: Engine, sum: number | Tensor): Promise<number> {
  if (typeof sum === 'number') return sum;
  const values = new Float32Array(sum.size);
  await engine.download(sum, values);
  let total = 0;
  for (const value of values) total += value;
  return total;
}
