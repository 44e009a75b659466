/** Estimates the duration of a run on this machine from its operations and the measured peak of the processor, without training. */
import { hasEncoder } from '../architecture/registry.ts';
import { stepFlops } from '../architecture/work.ts';
import { availableCores } from '../base/cores.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import type { RunData } from '../data/runData.ts';
import { createEngine, type EngineTable } from '../engine/registry.ts';
import { duration } from './progress.ts';
import type { RolloutPlan } from './rolloutPlan.ts';

/** Fractions of the peak that complete runs reached (docs/log.md). Small models and many workers per core are at the lower end. */
const efficiency = { least: 0.25, most: 0.75 };
/** Those of drawing tokens, some sequences at a time, and of passes over one text at a time. */
const drawingEfficiency = { least: 0.03, most: 0.1 };
const textEfficiency = { least: 0.04, most: 0.75 };
const measureSeconds = 0.1;
/** Number of steps whose lengths are looked at, spread over the run. */
const stepsMeasured = 100;

/**
 * One line for the steps, and another for the rollouts if there are any. None for a model without matrix products, and if the peak of the
 * machine cannot be measured.
 */
export async function estimatedTimes(
  config: Config,
  data: RunData,
  { rollouts, table }: { readonly rollouts?: RolloutPlan | undefined; readonly table?: EngineTable } = {},
): Promise<readonly string[]> {
  const { train, engine: wanted } = config;
  const cores = availableCores();
  const perWorker = wanted.threads || Math.max(1, Math.floor(cores / train.workers));
  const engine = await createEngine({ ...wanted, threads: Math.min(cores, perWorker * train.workers) }, table);
  let limit: number | undefined;
  try {
    limit = await engine.peakFlops?.(wanted.precision, measureSeconds);
  } finally {
    await engine.dispose();
  }
  if (limit === undefined) return [];
  const flops = meanStepFlops(config, data);
  if (flops === 0) return [];
  const steps = describeTime(flops, train.maxSteps, limit);
  return rollouts === undefined ? [steps] : [steps, describeRolloutTime(rollouts, limit)];
}

/** Floating-point operations of a step, a mean over the run: padding is computed too. */
export function meanStepFlops({ train, model, data: { sampler } }: Config, data: RunData): number {
  const { seed, globalBatchSize, epochs, maxSteps, trainable } = train;
  const lengthOf = data.stepLengths({ seed, globalBatchSize, blockSize: model.blockSize, sampler, epochs });
  const network = modelOf(model, data.vocabSize);
  const measured = Math.min(maxSteps, stepsMeasured);
  const flopsOf = new Map<number, number>();
  let sum = 0;
  for (let i = 0; i < measured; i++) {
    const length = lengthOf(Math.floor((i * maxSteps) / measured));
    // The sources are counted with their targets.
    const tokens = globalBatchSize * (hasEncoder(network) ? 1 : data.sequencesPerSample) * length;
    const flops = flopsOf.get(length) ?? stepFlops(network, tokens, trainable, length);
    flopsOf.set(length, flops);
    sum += flops / measured;
  }
  return sum;
}

/** If all answers have the maximum length; most models end theirs earlier. @param limit floating-point operations a second */
export function describeRolloutTime({ flops, iterations }: RolloutPlan, limit: number): string {
  const seconds = (part: 'least' | 'most') =>
    flops.drawing / (limit * drawingEfficiency[part]) + flops.passes / (limit * textEfficiency[part]);
  const [least, most] = [seconds('most'), seconds('least')];
  return (
    `rollouts: ${duration(least)} to ${duration(most)} more, ${(least / iterations).toPrecision(2)} to ${(most / iterations).toPrecision(2)} s per iteration, ` +
    'if all answers have the maximum length; without rewards'
  );
}

/** @param limit floating-point operations a second */
export function describeTime(flops: number, steps: number, limit: number): string {
  const seconds = (part: number) => (flops * steps) / (limit * part);
  const percent = (part: number) => Math.round(100 * part);
  const { least, most } = efficiency;
  return (
    `estimated ${duration(seconds(most))} to ${duration(seconds(least))}: ${(flops / 1e9).toLocaleString('en-US', { maximumSignificantDigits: 3 })} GFLOP per step ` +
    `at ${percent(most)} to ${percent(least)} % of this machine's ${Math.round(limit / 1e9)} GFLOP/s; without evaluations and checkpoints`
  );
}
