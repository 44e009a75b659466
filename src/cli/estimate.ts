/** Estimates the duration of a run on this machine from its operations and the measured peak of the processor, without training. */
import { stepFlops } from '../architecture/work.ts';
import { availableCores } from '../base/cores.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import { createEngine, type EngineTable } from '../engine/registry.ts';
import { duration } from './progress.ts';

/** Fractions of the peak that complete runs reached (docs/log.md). Small models and many workers per core are at the lower end. */
const efficiency = { least: 0.25, most: 0.75 };
const measureSeconds = 0.1;

/** Undefined for a model without matrix products, and if the peak of the machine cannot be measured. */
export async function estimatedTime(
  config: Config,
  vocabSize: number,
  table?: EngineTable,
): Promise<string | undefined> {
  const { train, model, engine: wanted } = config;
  const cores = availableCores();
  const perWorker = wanted.threads || Math.max(1, Math.floor(cores / train.workers));
  const engine = await createEngine({ ...wanted, threads: Math.min(cores, perWorker * train.workers) }, table);
  let limit: number | undefined;
  try {
    limit = await engine.peakFlops?.(wanted.precision, measureSeconds);
  } finally {
    await engine.dispose();
  }
  if (limit === undefined) return undefined;
  const flops = stepFlops(modelOf(model, vocabSize), train.globalBatchSize * model.blockSize, train.trainable);
  return flops === 0 ? undefined : describeTime(flops, train.maxSteps, limit);
}

/** @param limit floating-point operations a second */
export function describeTime(flops: number, steps: number, limit: number): string {
  const seconds = (part: number) => (flops * steps) / (limit * part);
  const percent = (part: number) => Math.round(100 * part);
  const { least, most } = efficiency;
  return (
    `estimated ${duration(seconds(most))} to ${duration(seconds(least))} on this machine: ${(flops / 1e9).toLocaleString('en-US', { maximumSignificantDigits: 3 })} GFLOP per step ` +
    `at ${percent(most)} to ${percent(least)} % of its ${Math.round(limit / 1e9)} GFLOP/s; without evaluations and checkpoints`
  );
}
