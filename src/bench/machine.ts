/**
 * The machine that a bench ran on, so that its numbers can be compared elsewhere: the processor, its instruction set, the versions, and
 * the floating-point limit reached in the same run.
 */
import { cpus, totalmem } from 'node:os';
import { commitOfCode } from '../base/commit.ts';
import { availableCores } from '../base/cores.ts';
import { invariant } from '../base/errors.ts';
import { version } from '../base/version.ts';
import type { Engine } from '../engine/engine.ts';
import type { EnginePrecision } from '../engine/precision.ts';
import { createEngine } from '../engine/registry.ts';

export interface Host {
  readonly cpu: string;
  /** Number of cores available to this process. */
  readonly cores: number;
  readonly memoryGiB: number;
  readonly os: string;
  readonly node: string;
  readonly lockstep: string;
  /** Commit of the code that ran, with `+` if files differed from it; absent if unknown. */
  readonly commit?: string;
}

export interface Machine extends Host {
  /** The unit that computed: the instruction set, if the device is a processor. */
  readonly isa: string;
  /** Number of host threads used by the bench. */
  readonly threads: number;
  /** 10^9 floating-point operations per second in fused multiply-adds on registers, with all these threads together. */
  readonly fmaGflops: number;
  /** The same for 1, 2, … `threads` threads, doubling. */
  readonly fmaGflopsByThreads: Readonly<Record<number, number>>;
  /**
   * The same in products of bfloat16 numbers summed in float32, with AMX, AVX-512 BF16 or float32 multiply-adds; absent if the engine
   * has none.
   */
  readonly bf16Gflops?: number;
  /** The same in products of float16 numbers summed in float32, by matrix units if those are faster; absent if the engine has none. */
  readonly f16Gflops?: number;
  /** 10^9 bytes per second read from memory by the threads together; absent if not measured. */
  readonly readGBs?: number;
}

/** What products are measured against. */
export type Limits = Pick<Machine, 'fmaGflops' | 'bf16Gflops' | 'f16Gflops'>;

const measureSeconds = 0.15;
/** More than caches can hold. */
const bandwidthBytes = 512e6;

/** An engine that can measure its limit. */
export type MeasuredEngine = Engine & Required<Pick<Engine, 'peakFlops'>>;

/** Describes this machine and measures the limit that an engine reaches on it; undefined if the engine cannot measure one. */
export function measureMachine(engine: MeasuredEngine): Promise<Machine>;
export function measureMachine(engine: Engine): Promise<Machine | undefined>;
export async function measureMachine(engine: Engine): Promise<Machine | undefined> {
  if (engine.peakFlops === undefined) return undefined;
  const { name, deviceKind, device, unit, threads = 1 } = engine;
  const { fmaGflops, ...halves } = await limitsOf(engine);
  const fmaGflopsByThreads: Record<number, number> = { [threads]: fmaGflops };
  for (let count = 1; count < threads; count *= 2) {
    const fewer = await createEngine({ name, deviceKind, device, unit, threads: count });
    fmaGflopsByThreads[count] = (await limitsOf(fewer)).fmaGflops;
    await fewer.dispose();
  }
  return {
    ...describeHost(),
    isa: unit,
    threads,
    fmaGflops,
    fmaGflopsByThreads,
    ...halves,
  };
}

/** Everything that does not need measuring. */
export function describeHost(): Host {
  const commit = commitOfCode();
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableCores(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    os: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    lockstep: version,
    ...(commit !== undefined && { commit }),
  };
}

/**
 * The machine with its limits measured again: other programs may have used it during the first measurement, and the better of two is
 * closer to the truth.
 */
export async function withBetterLimit<M extends Machine>(machine: M, engine: Engine): Promise<M> {
  const { fmaGflops, bf16Gflops, f16Gflops } = await limitsOf(engine);
  return {
    ...machine,
    fmaGflops: Math.max(machine.fmaGflops, fmaGflops),
    ...(bf16Gflops !== undefined && { bf16Gflops: Math.max(machine.bf16Gflops ?? 0, bf16Gflops) }),
    ...(f16Gflops !== undefined && { f16Gflops: Math.max(machine.f16Gflops ?? 0, f16Gflops) }),
  };
}

/** The limit for products whose factors have this precision, in 10^9 operations per second; undefined if the engine has none. */
export function limitIn(precision: EnginePrecision, limits: Limits): number | undefined {
  return limits[({ float32: 'fmaGflops', bf16: 'bf16Gflops', f16: 'f16Gflops' } as const)[precision]];
}

/** 10^9 bytes per second, if the engine can measure it. It briefly uses half a gigabyte, so benches that measure memory cannot use it. */
export function measureBandwidth(engine: Engine): Pick<Machine, 'readGBs'> {
  const bytes = engine.readBandwidth?.(new Float32Array(bandwidthBytes / 4).fill(1), measureSeconds);
  return bytes === undefined ? {} : { readGBs: bytes / 1e9 };
}

/** One line for people. */
export function renderHost({ cpu, cores, memoryGiB, os, node, lockstep, commit }: Host): string {
  return `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${os}, Node.js ${node}, Lockstep ${lockstep}${commit ? ` at ${commit}` : ''}\n`;
}

/** Two lines for people. */
export function renderMachine(machine: Machine): string {
  const { isa, threads, fmaGflops, bf16Gflops, f16Gflops, readGBs } = machine;
  return (
    renderHost(machine) +
    `${isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, FMA limit ${fmaGflops.toFixed(0)} GFLOP/s` +
    (bf16Gflops === undefined ? '' : `, bf16 limit ${bf16Gflops.toFixed(0)} GFLOP/s`) +
    (f16Gflops === undefined ? '' : `, f16 limit ${f16Gflops.toFixed(0)} GFLOP/s`) +
    `${readGBs === undefined ? '' : `, reads ${readGBs.toFixed(1)} GB/s`}\n`
  );
}

/** 10^9 floating-point operations per second: the best slice of the time, because other programs may use the machine too. */
async function limitsOf(engine: Engine): Promise<Limits> {
  const float32 = await engine.peakFlops!('float32', measureSeconds);
  invariant(float32 !== undefined, `${engine.description} measures no limit in float32`);
  const bf16 = await engine.peakFlops!('bf16', measureSeconds);
  const f16 = await engine.peakFlops!('f16', measureSeconds);
  return {
    fmaGflops: float32 / 1e9,
    ...(bf16 !== undefined && { bf16Gflops: bf16 / 1e9 }),
    // Sums are float32, so a device without matrix units reaches the same in both.
    ...(f16 !== undefined && { f16Gflops: Math.max(f16, float32) / 1e9 }),
  };
}
