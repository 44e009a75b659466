/**
 * What a bench ran on, so that its numbers mean something elsewhere: the processor, its instruction set, and the floating-point limit
 * that it reached in the same run.
 */
import { availableParallelism, cpus, totalmem } from 'node:os';
import { createNativeEngine, type NativeEngineOptions } from '../engine/native/nativeEngine.ts';

export interface Machine {
  readonly cpu: string;
  /** Cores that this process may use. */
  readonly cores: number;
  readonly memoryGiB: number;
  readonly os: string;
  readonly node: string;
  readonly isa: string;
  /** Threads that the bench used. */
  readonly threads: number;
  /** 10^9 floating-point operations a second in fused multiply-adds on registers, by that many threads together. */
  readonly fmaGflops: number;
  /** The same for 1, 2, … `threads` threads, doubling. */
  readonly fmaGflopsByThreads: Readonly<Record<number, number>>;
}

const measureSeconds = 0.15;

/** Describes this machine and measures its limit. Throws a UserError where the native engine is missing. */
export async function measureMachine(options: NativeEngineOptions): Promise<Machine> {
  const probe = createNativeEngine(options);
  const { isa, threads } = probe;
  const fmaGflops = fmaLimitOf(probe);
  await probe.dispose();
  const fmaGflopsByThreads: Record<number, number> = { [threads]: fmaGflops };
  for (let count = 1; count < threads; count *= 2) {
    const engine = createNativeEngine({ isa, threads: count });
    fmaGflopsByThreads[count] = fmaLimitOf(engine);
    await engine.dispose();
  }
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    os: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    isa,
    threads,
    fmaGflops,
    fmaGflopsByThreads,
  };
}

/** 10^9 floating-point operations a second: the best slice of the time, since others may use the machine too. */
export function fmaLimitOf(engine: { fmaLimit(seconds: number): number }): number {
  return engine.fmaLimit(measureSeconds) / 1e9;
}
