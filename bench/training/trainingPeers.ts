/** Times the same training steps in Lockstep and in other libraries, in turns, so that all see the same machine. */
import { stepFlops } from '../../src/architecture/work.ts';
import { invariant } from '../../src/base/errors.ts';
import { median } from '../../src/base/statistics.ts';
import {
  limitIn,
  type Machine,
  type MeasuredEngine,
  measureBandwidth,
  measureMachine,
  renderMachine,
  withBetterLimit,
} from '../../src/bench/machine.ts';
import type { TrainedShape } from '../../src/bench/stepRunner.ts';
import { fixed, numberColumn, percent, tableHeading, tableRow, textColumn } from '../../src/bench/table.ts';
import type { EnginePrecision } from '../../src/engine/precision.ts';
import { createEngine } from '../../src/engine/registry.ts';
import { type Contender, ours } from './contender.ts';
import { openGpuContenders } from './gpuContenders.ts';
import { openPyTorchContenders } from './pytorchContenders.ts';

export interface NamedShape extends TrainedShape {
  readonly name: string;
}

export interface TrainingPeersOptions {
  readonly shapes: readonly NamedShape[];
  /** `webgpu` is compared with TensorFlow.js and jax-js on the same GPU, where they are installed; the others do not apply then. */
  readonly engine: 'native' | 'webgpu';
  /** Threads of our engine; 0: one per core. PyTorch gets as many, or 1 where that is faster. */
  readonly threads: number;
  readonly python: string;
  /** Each is timed in both programs; with `webgpu`, others than float32 in ours alone. */
  readonly precisions: readonly EnginePrecision[];
  /** Whether PyTorch is timed a second time, with the model compiled (`torch.compile`). */
  readonly compiled: boolean;
  /** About how long the timed steps of one shape may take together. */
  readonly secondsPerShape: number;
}

export interface TrainingResult {
  readonly shape: string;
  /** `Lockstep float32`, `PyTorch 2.13.0 float32`, `PyTorch 2.13.0 float32 compiled`. */
  readonly name: string;
  readonly precision: EnginePrecision;
  readonly threads: number;
  readonly steps: number;
  readonly medianMs: number;
  readonly minMs: number;
  readonly tokensPerSecond: number;
  /** By the flops of the model (`stepFlops`) and the median time. */
  readonly gflops: number;
  /** Over the machine's limit for this precision: `fmaGflops`, `bf16Gflops` or `f16Gflops`. */
  readonly ofLimit: number;
  /** How many times as fast as the fastest other library in the same precision, if there is one, by the median times; and as our float32, if that was timed. */
  readonly timesOthers?: number;
  readonly timesFloat32?: number;
}

export interface TrainingPeersReport {
  readonly machine: Machine;
  readonly results: readonly TrainingResult[];
  /** For each library that is not compared with: why, and how to have it. */
  readonly missing: readonly string[];
}

export interface TrainingPeersListener {
  started?(machine: Machine, shapes: readonly string[]): void;
  /** What is done now, and the part of it that is done, from 0 to 1. */
  progress?(what: string, done: number): void;
  measured?(results: readonly TrainingResult[]): void;
}

const roundsLeast = 3;

export async function runTrainingPeers(
  options: TrainingPeersOptions,
  listener: TrainingPeersListener = {},
): Promise<TrainingPeersReport> {
  const engine = await createEngine({ name: options.engine, threads: options.threads });
  try {
    const measured = await measureMachine(engine);
    invariant(measured !== undefined, `${engine.description} cannot measure its limit`);
    const machine = { ...measured, ...measureBandwidth(engine) };
    const names = options.shapes.map(({ name }) => name);
    listener.started?.(machine, names);
    const results: TrainingResult[] = [];
    const missing = new Set<string>();
    for (const shape of options.shapes) {
      const progress = (done: number) => listener.progress?.(shape.name, done);
      const compared = await compare(shape, engine as MeasuredEngine, machine, options, progress);
      results.push(...compared.results);
      for (const note of compared.missing) missing.add(note);
      listener.measured?.(compared.results);
    }
    return { machine, results, missing: [...missing] };
  } finally {
    await engine.dispose();
  }
}

async function compare(
  shape: NamedShape,
  engine: MeasuredEngine,
  machine: Machine,
  options: TrainingPeersOptions,
  progress: (done: number) => void,
): Promise<{ results: TrainingResult[]; missing: readonly string[] }> {
  const { precisions, secondsPerShape } = options;
  // First, so that a missing PyTorch is found at once.
  const peers = engine.isHost
    ? await openPyTorchContenders(shape, { ...options, threads: machine.threads })
    : await openGpuContenders(shape);
  try {
    const contenders: Contender[] = [];
    for (const precision of precisions) contenders.push(await ours(engine, { ...shape, precision }));
    contenders.push(...peers.contenders);
    const start = performance.now();
    const budgetMs = 1000 * secondsPerShape;
    for (let round = 0; round < roundsLeast || performance.now() - start < budgetMs; round++) {
      for (const { step, ms } of contenders) ms.push(await step());
      progress(Math.min(0.99, Math.max((performance.now() - start) / budgetMs, 0.01)));
    }
    return {
      results: resultsOf(contenders, shape, await withBetterLimit(machine, engine)),
      missing: peers.missing,
    };
  } finally {
    await peers.close();
  }
}

function resultsOf(contenders: readonly Contender[], shape: NamedShape, machine: Machine): TrainingResult[] {
  const tokens = shape.train.globalBatchSize * shape.model.blockSize;
  const flops = stepFlops(shape.model, tokens);
  const medians = new Map(contenders.map(({ name, ms }) => [name, median(ms)]));
  const float32Ms = medians.get('Lockstep float32');
  return contenders.map(({ name, precision, threads, ms }) => {
    const medianMs = medians.get(name)!;
    const gflops = flops / medianMs / 1e6;
    const others = contenders.filter((other) => !other.isOurs && other.precision === precision);
    const fastest = Math.min(...others.map((other) => medians.get(other.name)!));
    return {
      shape: shape.name,
      name,
      precision,
      threads,
      steps: ms.length,
      medianMs,
      minMs: Math.min(...ms),
      tokensPerSecond: (1000 * tokens) / medianMs,
      gflops,
      ofLimit: gflops / limitIn(precision, machine)!,
      ...(others.length > 0 && { timesOthers: fastest / medianMs }),
      ...(float32Ms !== undefined && { timesFloat32: float32Ms / medianMs }),
    };
  });
}

/** For people: a heading, then the rows of each shape as soon as they are timed. */
export function trainingTable(
  machine: Machine,
  shapes: readonly string[],
): { heading: string; rows(results: readonly TrainingResult[]): string } {
  const columns = [
    textColumn('shape', shapes),
    textColumn('what', ['PyTorch 2.13.0+cpu float32 compiled']),
    numberColumn('threads'),
    numberColumn('steps'),
    numberColumn('median ms', 9),
    numberColumn('min ms', 9),
    numberColumn('tokens/s'),
    numberColumn('GFLOP/s'),
    numberColumn('of limit'),
    numberColumn('times others'),
    numberColumn('times float32'),
  ];
  const row = (result: TrainingResult): string =>
    tableRow(columns, [
      result.shape,
      result.name,
      String(result.threads),
      String(result.steps),
      fixed(result.medianMs, 1),
      fixed(result.minMs, 1),
      fixed(result.tokensPerSecond, 0),
      fixed(result.gflops, 1),
      percent(result.ofLimit),
      fixed(result.timesOthers, 2),
      fixed(result.timesFloat32, 2),
    ]);
  return {
    heading: `${renderMachine(machine)}\n${tableHeading(columns)}\n`,
    rows: (results) => results.map((result) => `${row(result)}\n`).join(''),
  };
}
