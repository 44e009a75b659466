/** How long a run would take on this machine: a guess from what it is worth and what the processor can do, without training. */
import { stepFlops } from '../architecture/work.ts';
import { availableCores } from '../base/cores.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import { createEngine, type EngineTable } from '../engine/registry.ts';
import { duration } from './progress.ts';

/** Of the limit, what whole runs have come to (docs/log.md): small models and many workers to a core are at the lower end. */
const efficiency = { least: 0.25, most: 0.75 };
const measureSeconds = 0.1;

/** Undefined for a model that multiplies nothing, and where the limit of the machine cannot be measured. */
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
    limit = engine.peakFlops?.(wanted.precision, measureSeconds);
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
    `estimated ${duration(seconds(most))} to ${duration(seconds(least))} on this machine: ${(flops / 1e9).toLocaleString('en-US', { maximumSignificantDigits: 3 })} GFLOP a step ` +
    `at ${percent(most)} to ${percent(least)} % of its ${Math.round(limit / 1e9)} GFLOP/s; evaluations and checkpoints not counted`
  );
}
