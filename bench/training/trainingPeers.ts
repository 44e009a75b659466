/** Times the same training steps in Lockstep and in PyTorch, in turns, so that both see the same machine. */
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
import { openPyTorch, type PeerPrecision, type PyTorchOptions, type PyTorchPeer } from './pytorchPeer.ts';

export interface NamedShape extends TrainedShape {
  readonly name: string;
}

export interface TrainingPeersOptions {
  readonly shapes: readonly NamedShape[];
  /** Threads of our engine; 0: one per core. PyTorch gets as many, or 1 where that is faster. */
  readonly threads: number;
  readonly python: string;
  /** Each is timed in both programs. */
  readonly precisions: readonly PeerPrecision[];
  /** Whether PyTorch is timed a second time, with the model compiled (`torch.compile`). */
  readonly compiled: boolean;
  /** About how long the timed steps of one shape may take together. */
  readonly secondsPerShape: number;
}

export interface TrainingResult {
  readonly shape: string;
  /** `Lockstep float32`, `PyTorch 2.13.0 float32`, `PyTorch 2.13.0 float32 compiled`. */
  readonly name: string;
  readonly precision: PeerPrecision;
  readonly threads: number;
  readonly steps: number;
  readonly medianMs: number;
  readonly minMs: number;
  readonly tokensPerSecond: number;
  /** By the flops of the model (`stepFlops`) and the median time. */
  readonly gflops: number;
  /** Over the machine's limit for this precision: `fmaGflops` or `bf16Gflops`. */
  readonly ofLimit: number;
  /** How many times as fast as the fastest PyTorch in the same precision, by the median times; and as our float32, if that was timed. */
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
  const machine = { ...measured, ...measureBandwidth(engine) };
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

interface Contender {
  readonly name: string;
  readonly precision: PeerPrecision;
  readonly isOurs: boolean;
  readonly threads: number;
  /** One step, in milliseconds. */
  readonly step: () => Promise<number>;
  readonly ms: number[];
}

async function compare(
  shape: NamedShape,
  machine: Machine,
  { python, precisions, compiled, secondsPerShape }: TrainingPeersOptions,
  progress: (done: number) => void,
): Promise<TrainingResult[]> {
  const engine = createNativeEngine({ threads: machine.threads, isa: machine.isa as InstructionSet });
  const opened: PyTorchPeer[] = [];
  const open = async (options: PyTorchOptions) => {
    const peer = await openPyTorch(python, shape, options);
    opened.push(peer);
    return peer;
  };
  try {
    // First, so that a missing PyTorch is found at once.
    const peers: Contender[] = [];
    for (const precision of precisions) peers.push(...(await theirs(open, precision, compiled, machine.threads)));
    const contenders: Contender[] = [];
    for (const precision of precisions) contenders.push(await ours(engine, { ...shape, precision }));
    contenders.push(...peers);
    const start = performance.now();
    const budgetMs = 1000 * secondsPerShape;
    for (let round = 0; round < roundsLeast || performance.now() - start < budgetMs; round++) {
      for (const { step, ms } of contenders) ms.push(await step());
      progress(Math.min(0.99, Math.max((performance.now() - start) / budgetMs, 0.01)));
    }
    return resultsOf(contenders, shape, await withBetterLimit(machine, engine));
  } finally {
    for (const peer of opened) peer.close();
    await engine.dispose();
  }
}

/** After a step that is not timed. */
async function ours(engine: NativeEngine, shape: TrainedShape & { precision: PeerPrecision }): Promise<Contender> {
  const { precision } = shape;
  const runner = new StepRunner(engine, shape);
  const step = async (): Promise<number> => totalMs(await runner.step());
  await step();
  return { name: `Lockstep ${precision}`, precision, isOurs: true, threads: engine.threads, step, ms: [] };
}

/** Eager and compiled, with the number of threads that is faster for this shape in eager mode: small ones are slower with several. */
async function theirs(
  open: (options: PyTorchOptions) => Promise<PyTorchPeer>,
  precision: PeerPrecision,
  compiled: boolean,
  most: number,
): Promise<Contender[]> {
  const eager = await open({ precision, compiled: false });
  const threads = await fasterThreads(eager, most);
  const contender = (peer: PyTorchPeer, suffix: string): Contender => ({
    name: `PyTorch ${peer.version} ${precision}${suffix}`,
    precision,
    isOurs: false,
    threads,
    step: () => peer.step(threads),
    ms: [],
  });
  if (!compiled) return [contender(eager, '')];
  const faster = await open({ precision, compiled: true });
  // The first step compiles; the second may once more.
  for (let step = 0; step < 2; step++) await faster.step(threads);
  return [contender(eager, ''), contender(faster, ' compiled')];
}

async function fasterThreads(peer: PyTorchPeer, most: number): Promise<number> {
  await peer.step(most);
  const candidates: { count: number; ms: number }[] = [];
  for (const count of new Set([1, most])) {
    const first = await peer.step(count);
    candidates.push({ count, ms: first > 1000 ? first : Math.min(first, await peer.step(count)) });
  }
  return candidates.toSorted((a, b) => a.ms - b.ms)[0]!.count;
}

function resultsOf(contenders: readonly Contender[], shape: NamedShape, machine: Machine): TrainingResult[] {
  const tokens = shape.train.globalBatchSize * shape.model.blockSize;
  const flops = stepFlops(shape.model, tokens);
  const medians = new Map(contenders.map(({ name, ms }) => [name, median(ms)]));
  const float32Ms = medians.get('Lockstep float32');
  const limits: Readonly<Record<PeerPrecision, number>> = { float32: machine.fmaGflops, bf16: machine.bf16Gflops! };
  return contenders.map(({ name, precision, threads, ms }) => {
    const medianMs = medians.get(name)!;
    const gflops = flops / medianMs / 1e6;
    const peers = contenders.filter((other) => !other.isOurs && other.precision === precision);
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
      ofLimit: gflops / limits[precision],
      timesPyTorch: Math.min(...peers.map((peer) => medians.get(peer.name)!)) / medianMs,
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
