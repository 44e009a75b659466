/**
 * Times an engine's kernels against the floating-point limit that its device reaches in the same run, and the matrix products of the
 * native and the webgpu engine against other libraries', in turns. Speed only: test/parity/kernels compares the results with the reference; here a
 * checksum shows that all libraries computed the same product.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { InvariantError, invariant, UserError } from '../../src/base/errors.ts';
import { median } from '../../src/base/statistics.ts';
import { limitIn, type Machine, measureBandwidth, measureMachine, withBetterLimit } from '../../src/bench/machine.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { createEngine, type EngineOptions } from '../../src/engine/registry.ts';
import type { Shape, Tensor } from '../../src/engine/tensor.ts';
import { checksum } from './checksum.ts';
import { openGpuProductPeers } from './gpuPeers.ts';
import { cycledValues, type KernelCase, type MakeTensor, type PreparedCase } from './kernelCase.ts';
import { kernelCases } from './kernelCases.ts';
import { openProductPeers, type PeerName, type Product, type ProductPeer, type ProductPeers } from './productPeers.ts';
import { sampler, slowMs } from './sampler.ts';

/** One sample of one kernel, and how many there are; fewer of one whose single call takes longer than `slowMs`. */
const sampleMs = 15;
const samplesMost = 9;
const samplesSlow = 3;
/** Pause between two libraries, whose threads keep spinning for a moment. */
const pauseMs = 3;

export interface EngineBenchOptions {
  readonly engine: EngineOptions;
  /** Whether other libraries are timed beside. */
  readonly peers: boolean;
  /** Only the cases whose name and shape, like `linearForward NN 768×128×384`, match. */
  readonly only?: RegExp;
}

/** Microseconds of one call of a library: the median and minimum over the samples. */
export interface CaseTimes {
  readonly medianUs: number;
  readonly minUs: number;
  /** 10^9 floating-point operations a second, by the median time; absent for kernels that only move memory. */
  readonly gflops?: number;
}

export interface BenchResult extends CaseTimes {
  /** The kernel, as the engine interface calls it; of a product also which operands lie transposed. */
  readonly name: string;
  readonly shape: string;
  /** `gflops` over the machine's limit for their precision: `fmaGflops`, `bf16Gflops` or `f16Gflops`; from 0 to 1. */
  readonly ofLimit?: number;
  /** 10^9 bytes a second read and written, by the median time. */
  readonly gbytes?: number;
  /** The same product by others; `ratio` is how many times as fast ours is, by the median times. */
  readonly peers: Partial<Record<PeerName, CaseTimes & { readonly ratio: number }>>;
}

/** What is known before the first kernel is timed. */
export interface EngineBenchHead {
  readonly machine: Machine;
  /** Name and version of each library that is compared with. */
  readonly peers: readonly { readonly name: PeerName; readonly version: string }[];
  readonly missingPeers: readonly string[];
  readonly cases: readonly Pick<KernelCase, 'name' | 'shape'>[];
}

export interface EngineBenchReport extends Omit<EngineBenchHead, 'cases'> {
  readonly results: readonly BenchResult[];
}

/** Told what is known as soon as it is. */
export interface EngineBenchListener {
  started?(head: EngineBenchHead): void;
  measured?(result: BenchResult): void;
}

export async function runEngineBench(
  options: EngineBenchOptions,
  listener: EngineBenchListener = {},
): Promise<EngineBenchReport> {
  const engine = await createEngine(options.engine);
  let opened = noPeers;
  try {
    const limits = await measureMachine(engine);
    invariant(limits !== undefined, `${engine.description} cannot measure its limit`);
    const machine = { ...limits, ...measureBandwidth(engine) };
    const cases = casesMatching(options.only).filter(
      ({ precision = 'float32' }) => limitIn(precision, machine) !== undefined,
    );
    if (options.peers) opened = await (engine.isHost ? openProductPeers(machine) : openGpuProductPeers());
    const peers = opened.peers.map(({ name, version }) => ({ name, version }));
    const head = { machine, peers, missingPeers: opened.missing };
    listener.started?.({ ...head, cases });
    const measured: { kernel: KernelCase; times: SourceTimes[] }[] = [];
    for (const kernel of cases) {
      const times = await timeCase(engine, kernel, opened.peers);
      measured.push({ kernel, times });
      listener.measured?.(resultOf(kernel, times, machine));
    }
    const better = await withBetterLimit(machine, engine);
    const results = measured.map(({ kernel, times }) => resultOf(kernel, times, better));
    return { ...head, machine: better, results };
  } finally {
    opened.close();
    await engine.dispose();
  }
}

const noPeers: ProductPeers = { peers: [], missing: [], close: () => {} };

function casesMatching(only: RegExp | undefined): KernelCase[] {
  const cases = kernelCases();
  const matching = cases.filter(({ name, shape }) => only?.test(`${name} ${shape}`) ?? true);
  if (matching.length > 0) return matching;
  const names = [...new Set(cases.map(({ name }) => name))];
  throw new UserError(`no kernel and shape matches ${only}; the kernels are ${names.join(', ')}`);
}

interface SourceTimes {
  readonly source: 'ours' | PeerName;
  readonly us: readonly number[];
}

function resultOf(
  { name, shape, flops, precision = 'float32', bytes }: KernelCase,
  times: readonly SourceTimes[],
  machine: Machine,
): BenchResult {
  const [ours, ...others] = times.map(({ source, us }) => {
    const medianUs = median(us);
    const rate = flops !== undefined && { gflops: flops / medianUs / 1e3 };
    return { source, times: { medianUs, minUs: Math.min(...us), ...rate } };
  });
  const { medianUs, gflops } = ours!.times;
  const limit = limitIn(precision, machine);
  return {
    name,
    shape,
    ...ours!.times,
    ...(gflops !== undefined && limit !== undefined && { ofLimit: gflops / limit }),
    ...(bytes !== undefined && { gbytes: bytes / medianUs / 1e3 }),
    peers: Object.fromEntries(
      others.map(({ source, times }) => [source, { ...times, ratio: times.medianUs / medianUs }]),
    ),
  };
}

/** Every library that has the case, ours first, sampled in turns. */
async function timeCase(engine: Engine, kernel: KernelCase, peers: readonly ProductPeer[]): Promise<SourceTimes[]> {
  const tensors: Tensor[] = [];
  const maker = (dtype: 'float32' | 'bfloat16'): MakeTensor => {
    return (...shape) => {
      const tensor = filledTensor(engine, shape, dtype);
      tensors.push(tensor);
      return tensor;
    };
  };
  const prepared = kernel.prepare(engine, maker('float32'), maker('bfloat16'));
  prepared.call();
  const others = kernel.product ? await preparePeers(engine, kernel.product, prepared, peers) : [];
  const { sample, callMs } = await sampler(engine, prepared.call);
  const sources = [
    { source: 'ours' as const, sample, us: [] as number[] },
    ...others.map((peer) => ({ source: peer.name, sample: (ms: number) => peer.sample(ms), us: [] as number[] })),
  ];
  const rounds = callMs > slowMs ? samplesSlow : samplesMost;
  for (let round = 0; round < rounds; round++) {
    for (const source of sources) {
      if (others.length > 0) await sleep(pauseMs);
      source.us.push(await source.sample(sampleMs));
    }
  }
  for (const tensor of tensors) engine.release(tensor);
  return sources;
}

/** The peers that can compute the product; each must have computed the same. */
async function preparePeers(
  engine: Engine,
  product: Product,
  { result }: PreparedCase,
  peers: readonly ProductPeer[],
): Promise<ProductPeer[]> {
  const able: ProductPeer[] = [];
  const values = new Float32Array(result!.size);
  await engine.download(result!, values);
  const ours = checksum(values);
  for (const peer of peers) {
    const theirs = await peer.prepare(product);
    if (theirs === undefined) continue;
    const error = Math.abs(theirs - ours.sum) / ours.scale;
    if (!(error < checksumTolerance[product.dtype])) {
      throw new InvariantError(`${peer.name} computed another product: its checksum is ${theirs}, ours ${ours.sum}`);
    }
    able.push(peer);
  }
  return able;
}

const checksumTolerance = { f32: 1e-5, bf16: 1e-2 } as const satisfies Record<Product['dtype'], number>;

function filledTensor(engine: Engine, shape: Shape, dtype: 'float32' | 'bfloat16'): Tensor {
  const tensor = engine.alloc(shape, dtype);
  const values = cycledValues(tensor.size);
  engine.upload(tensor, dtype === 'bfloat16' ? bfloat16Of(values) : values);
  return tensor;
}

/** Rounded to the nearest, to even where two are as near. */
function bfloat16Of(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16);
}
