/**
 * How the speed of training grows with the number of workers, on real runs (benchRun.ts).
 *
 * - **Weak scaling**: each worker keeps its share and the global batch grows. **Strong scaling**: the global batch stays that of the
 *   largest number of workers and the shares shrink. With the largest number, both are the same run.
 * - **Efficiency** is tokens per second relative to what the devices would reach without losses, based on the smallest number of
 *   workers. Simulated devices: one per worker. Real workers share the cores: the number of devices is the number of cores in use.
 * - **Share of communication** is ring wait divided by the time of a step: the part that nothing hid.
 * - **Overlap won** is the hidden part of the all-reduce: 1 - ring wait / the time of the same all-reduce alone, between the same number
 *   of processes that do nothing else (ringBench.ts).
 */
import { availableCores } from '../base/cores.ts';
import { isTrainedTensor } from '../base/stateParts.ts';
import { median, quantile } from '../base/statistics.ts';
import type { Config } from '../config/configTypes.ts';
import type { StepMetrics } from '../records/metricsLog.ts';
import { phases } from '../records/rankTimes.ts';
import { withBenchRun } from './benchRun.ts';
import { describeHost, type Host } from './machine.ts';
import { runRingBench } from './ringBench.ts';
import { simulatedWorkers } from './simulatedDevice.ts';

export type ScalingMode = 'strong' | 'weak';

export interface ScalingOptions {
  readonly config: Config;
  /** Numbers of workers, ascending. */
  readonly workers: readonly number[];
  readonly modes: readonly ScalingMode[];
  /** Milliseconds per sample on a simulated device; absent: the config's engine. */
  readonly computeMs?: number;
  /** Number of samples per worker in a step, with the largest number of workers. */
  readonly batch: number;
  /** Number of timed steps, after {@link warmUpSteps}. */
  readonly steps: number;
  readonly onWarning: (message: string) => void;
}

export interface ScalingResult {
  readonly mode: ScalingMode;
  readonly workers: number;
  readonly globalBatchSize: number;
  readonly tokensPerSecond: number;
  /** Median and quartiles. */
  readonly stepMs: number;
  readonly stepQuartilesMs: readonly [number, number];
  /** 1 for the smallest number of workers. */
  readonly efficiency: number;
  readonly communicationShare: number;
  /** The same all-reduce alone, median; absent with one worker. */
  readonly ringAloneMs?: number;
  readonly overlapWon?: number;
  /** Medians over the steps of the mean over the ranks, in the order of `phaseNames` (report/rankTimes.ts); the last is the rest. */
  readonly phaseMs: readonly number[];
}

export interface ScalingReport {
  readonly machine: Host;
  readonly device: 'real' | 'simulated';
  /** As reported by the workers. */
  readonly engine: string;
  readonly computeMs?: number;
  /** 10^6 bytes of float32. */
  readonly gradientMB: number;
  readonly blockSize: number;
  readonly steps: number;
  readonly results: readonly ScalingResult[];
}

/** Facts known once the first run has begun. */
export type ScalingHead = Omit<ScalingReport, 'results'>;

export interface ScalingListener {
  started?(head: ScalingHead): void;
  measured?(result: ScalingResult): void;
  /** The fraction of all work that is done, from 0 to 1. */
  progress?(done: number): void;
}

/** In the first steps both ends compile their code and touch memory for the first time. */
export const warmUpSteps = 3;
const ringRepetitions = 7;

/** @throws PeerError if a run fails */
export async function runScalingBench(options: ScalingOptions, listener: ScalingListener = {}): Promise<ScalingReport> {
  const { workers: counts, modes, batch } = options;
  const most = Math.max(...counts);
  const runs = modes.flatMap((mode) =>
    counts.map((workers) => ({ mode, workers, globalBatchSize: batch * (mode === 'weak' ? workers : most) })),
  );
  const alone = new Map<number, number>();
  const timed = new Map<string, TimedRun>();
  const results: ScalingResult[] = [];
  let head: ScalingHead | undefined;
  for (const [i, { mode, workers, globalBatchSize }] of runs.entries()) {
    const key = `${workers} ${globalBatchSize}`;
    const run = timed.get(key) ?? (await timeRun(options, workers, globalBatchSize));
    timed.set(key, run);
    if (head === undefined) {
      head = headOf(options, run);
      listener.started?.(head);
    }
    if (workers > 1 && !alone.has(workers))
      alone.set(workers, await timeRing(options.config, workers, run.gradientBytes));
    const first = results.find((result) => result.mode === mode);
    const result = resultOf({ mode, workers, globalBatchSize, run, ringAloneMs: alone.get(workers), first, options });
    results.push(result);
    listener.measured?.(result);
    listener.progress?.((i + 1) / runs.length);
  }
  return { ...headOf(options, [...timed.values()][0]!), results };
}

interface TimedRun {
  readonly engine: string;
  readonly gradientBytes: number;
  readonly steps: readonly StepMetrics[];
}

async function timeRun(
  { config, computeMs, batch, steps, onWarning }: ScalingOptions,
  workers: number,
  globalBatchSize: number,
) {
  const timed: StepMetrics[] = [];
  let engine = '';
  let gradientBytes = 0;
  await withBenchRun(
    {
      config: {
        ...config,
        train: {
          ...config.train,
          workers,
          globalBatchSize,
          maxSteps: warmUpSteps + steps,
          // Every global batch is a multiple of `batch`, and must be one of this number too.
          microBatchSize: commonDivisor(batch, config.train.microBatchSize),
        },
      },
      encrypted: true,
      ...(computeMs !== undefined && { entry: simulatedWorkers({ computeMs }) }),
      listener: {
        started([member]) {
          engine = member?.prepared?.engine ?? '';
          const tensors = member?.prepared?.tensors.filter(isTrainedTensor) ?? [];
          gradientBytes = 4 * tensors.reduce((sum, { shape }) => sum + shape.reduce((size, n) => size * n, 1), 0);
        },
        step(metrics) {
          if (metrics.step > warmUpSteps) timed.push(metrics);
        },
      },
      onWarning,
    },
    ({ finished }) => finished,
  );
  return { engine, gradientBytes, steps: timed } satisfies TimedRun;
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

/** The all-reduce of the same number of bytes, with nothing beside it. */
async function timeRing({ comm }: Config, ranks: number, bytes: number): Promise<number> {
  const { bucketBytesMax: bucketBytes, chunkBytes } = comm;
  const { results } = await runRingBench({
    ranks: [ranks],
    mbytes: bytes / 1e6,
    repetitions: ringRepetitions,
    bucketBytes,
    chunkBytes,
    localRing: true,
    encrypted: true,
  });
  return results[0]!.medianMs;
}

function headOf({ config, computeMs, steps }: ScalingOptions, { engine, gradientBytes }: TimedRun): ScalingHead {
  return {
    machine: describeHost(),
    device: computeMs === undefined ? 'real' : 'simulated',
    engine,
    ...(computeMs !== undefined && { computeMs }),
    gradientMB: gradientBytes / 1e6,
    blockSize: config.model.blockSize,
    steps,
  };
}

interface Measured {
  readonly mode: ScalingMode;
  readonly workers: number;
  readonly globalBatchSize: number;
  readonly run: TimedRun;
  readonly ringAloneMs: number | undefined;
  /** The speed with the smallest number of workers. */
  readonly first: ScalingResult | undefined;
  readonly options: ScalingOptions;
}

function resultOf({ mode, workers, globalBatchSize, run, ringAloneMs, first, options }: Measured): ScalingResult {
  const stepTokens = globalBatchSize * options.config.model.blockSize;
  const times = run.steps.map(({ tokensPerSecond }) => (1_000 * stepTokens) / tokensPerSecond);
  const stepMs = median(times);
  const tokensPerSecond = (1_000 * stepTokens) / stepMs;
  const phaseMs = phases.map(([phase]) => median(run.steps.map(({ ranks }) => meanOf(ranks, phase))));
  const ringWaitMs = phaseMs[phases.findIndex(([phase]) => phase === 'ringWaitMs')]!;
  const ownRate = tokensPerSecond / devicesOf(options, workers);
  const firstRate = first === undefined ? ownRate : first.tokensPerSecond / devicesOf(options, first.workers);
  return {
    mode,
    workers,
    globalBatchSize,
    tokensPerSecond,
    stepMs,
    stepQuartilesMs: [quantile(times, 0.25), quantile(times, 0.75)],
    efficiency: ownRate / firstRate,
    communicationShare: ringWaitMs / stepMs,
    ...(ringAloneMs !== undefined && { ringAloneMs, overlapWon: Math.max(0, 1 - ringWaitMs / ringAloneMs) }),
    phaseMs: [...phaseMs, Math.max(0, stepMs - phaseMs.reduce((sum, ms) => sum + ms, 0))],
  };
}

/** Number of active devices: one per worker if simulated, otherwise the cores used by the workers' threads. */
function devicesOf({ computeMs, config }: ScalingOptions, workers: number): number {
  if (computeMs !== undefined) return workers;
  const cores = availableCores();
  const threads = config.engine.threads || Math.max(1, Math.floor(cores / workers));
  return Math.min(cores, workers * threads);
}

function meanOf(ranks: StepMetrics['ranks'], phase: (typeof phases)[number][0]): number {
  return ranks.reduce((sum, rank) => sum + (rank[phase] ?? 0), 0) / ranks.length;
}
