/** Times whole training steps of ours and of PyTorch in turns, so that both see the same machine. */
import { stepFlops } from '../../src/architecture/work.ts';
import type { InstructionSet } from '../../src/base/instructionSets.ts';
import { median } from '../../src/base/statistics.ts';
import {
  type Machine,
  measureBandwidth,
  measureMachine,
  renderMachine,
  withBetterLimit,
} from '../../src/bench/machine.ts';
import { StepRunner, type TrainedShape, totalMs } from '../../src/bench/stepRunner.ts';
import { fixed, numberColumn, percent, tableHeading, tableRow, textColumn } from '../../src/bench/table.ts';
import { createNativeEngine, type NativeEngine } from '../../src/engine/native/nativeEngine.ts';
import type { Precision } from '../../src/model/computing.ts';
import { openPyTorch, type PyTorchPeer } from './pytorchPeer.ts';

export interface NamedShape extends TrainedShape {
  readonly name: string;
}

export interface TrainingPeersOptions {
  readonly shapes: readonly NamedShape[];
  /** Of our engine; 0: one for each core. PyTorch gets the better of as many and one. */
  readonly threads: number;
  readonly python: string;
  /** Of ours; PyTorch's is float32. */
  readonly precisions: readonly Precision[];
  /** About how long the timed steps of one shape may take together. */
  readonly secondsPerShape: number;
}

export interface TrainingResult {
  readonly shape: string;
  /** `Lockstep float32`, `PyTorch 1.13.0`. */
  readonly name: string;
  readonly threads: number;
  readonly steps: number;
  readonly medianMs: number;
  readonly minMs: number;
  readonly tokensPerSecond: number;
  /** By the flops of the model (`stepFlops`) and the median time, and over the machine's `fmaGflops`. */
  readonly gflops: number;
  readonly ofLimit: number;
  /** How many times as fast as PyTorch, by the median times; and as our float32, if that was timed. */
  readonly timesPyTorch: number;
  readonly timesFloat32?: number;
}

export interface TrainingPeersReport {
  readonly machine: Machine;
  readonly results: readonly TrainingResult[];
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
  const engine = createNativeEngine({ threads: options.threads });
  const measured = await measureMachine(engine);
  const machine = { ...measured, readGBs: measureBandwidth(engine) };
  await engine.dispose();
  listener.started?.(
    machine,
    options.shapes.map(({ name }) => name),
  );
  const results: TrainingResult[] = [];
  for (const shape of options.shapes) {
    const ofShape = await compare(shape, machine, options, (done) => listener.progress?.(shape.name, done));
    results.push(...ofShape);
    listener.measured?.(ofShape);
  }
  return { machine, results };
}

/** One step of a contender, in milliseconds. */
interface Contender {
  readonly name: string;
  readonly threads: number;
  readonly step: () => Promise<number>;
  readonly ms: number[];
}

async function compare(
  shape: NamedShape,
  machine: Machine,
  { python, precisions, secondsPerShape }: TrainingPeersOptions,
  progress: (done: number) => void,
): Promise<TrainingResult[]> {
  const pytorch = await openPyTorch(python, shape);
  const engine = createNativeEngine({ threads: machine.threads, isa: machine.isa as InstructionSet });
  try {
    const contenders: Contender[] = [];
    for (const precision of precisions) contenders.push(await ours(engine, { ...shape, precision }));
    contenders.push(await theirs(pytorch, machine.threads));
    const start = performance.now();
    const budgetMs = 1000 * secondsPerShape;
    for (let round = 0; round < roundsLeast || performance.now() - start < budgetMs; round++) {
      for (const { step, ms } of contenders) ms.push(await step());
      progress(Math.min(0.99, Math.max((performance.now() - start) / budgetMs, 0.01)));
    }
    return resultsOf(contenders, shape, withBetterLimit(machine, engine));
  } finally {
    pytorch.close();
    await engine.dispose();
  }
}

/** After a step that is not timed. */
async function ours(engine: NativeEngine, shape: TrainedShape): Promise<Contender> {
  const runner = new StepRunner(engine, shape);
  const step = async (): Promise<number> => totalMs(await runner.step());
  await step();
  return { name: `Lockstep ${shape.precision}`, threads: engine.threads, step, ms: [] };
}

/** With the number of threads that is faster for this shape: small ones are slower with several. */
async function theirs(pytorch: PyTorchPeer, threads: number): Promise<Contender> {
  await pytorch.step(threads);
  const candidates: { count: number; ms: number }[] = [];
  for (const count of new Set([1, threads])) {
    const first = await pytorch.step(count);
    candidates.push({ count, ms: first > 1000 ? first : Math.min(first, await pytorch.step(count)) });
  }
  const { count } = candidates.toSorted((a, b) => a.ms - b.ms)[0]!;
  return { name: `PyTorch ${pytorch.version}`, threads: count, step: () => pytorch.step(count), ms: [] };
}

function resultsOf(contenders: readonly Contender[], shape: NamedShape, machine: Machine): TrainingResult[] {
  const tokens = shape.train.globalBatchSize * shape.model.blockSize;
  const flops = stepFlops(shape.model, tokens);
  const medians = new Map(contenders.map(({ name, ms }) => [name, median(ms)]));
  const pytorchMs = medians.get(contenders.at(-1)!.name)!;
  const float32Ms = medians.get('Lockstep float32');
  return contenders.map(({ name, threads, ms }) => {
    const medianMs = medians.get(name)!;
    const gflops = flops / medianMs / 1e6;
    return {
      shape: shape.name,
      name,
      threads,
      steps: ms.length,
      medianMs,
      minMs: Math.min(...ms),
      tokensPerSecond: (1000 * tokens) / medianMs,
      gflops,
      ofLimit: gflops / machine.fmaGflops,
      timesPyTorch: pytorchMs / medianMs,
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
    textColumn('what', ['PyTorch 1.13.0a0+cpu']),
    numberColumn('threads'),
    numberColumn('steps'),
    numberColumn('median ms', 9),
    numberColumn('min ms', 9),
    numberColumn('tokens/s'),
    numberColumn('GFLOP/s'),
    numberColumn('of limit'),
    numberColumn('times PyTorch'),
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
      fixed(result.timesPyTorch, 2),
      fixed(result.timesFloat32, 2),
    ]);
  return {
    heading: `${renderMachine(machine)}\n${tableHeading(columns)}\n`,
    rows: (results) => results.map((result) => `${row(result)}\n`).join(''),
  };
}
