/** From the timed calls of some steps to one line for each kernel, and what is left between them. */
import type { KernelCall } from './kernelTimer.ts';
import { median } from './median.ts';

export interface KernelResult {
  /** The kernel, as the engine interface calls it. */
  readonly name: string;
  /** Of all its calls, if they are told apart. */
  readonly shape?: string;
  /** In one step. */
  readonly calls: number;
  /** Of all its calls in one step: the median over the steps, and the smallest. */
  readonly msPerStep: number;
  readonly minMsPerStep: number;
  /** `msPerStep` over the median time of the whole step. */
  readonly share: number;
  /** 10^9 a second: floating-point operations of products and attention, else bytes read and written. */
  readonly gflops?: number;
  readonly ofLimit?: number;
  readonly gbytes?: number;
}

export interface KernelSummary {
  /** Median of the steps whose kernels were timed. */
  readonly stepMs: number;
  /** The most time first. */
  readonly kernels: readonly KernelResult[];
  /** Everything else in a step: the tape, copies of tokens, calls into the addon. */
  readonly betweenMs: number;
}

export interface TimedStep {
  readonly calls: readonly KernelCall[];
  readonly wallMs: number;
}

export function summariseKernels(
  steps: readonly TimedStep[],
  options: { fmaGflops: number | undefined; byShape: boolean },
): KernelSummary {
  const { fmaGflops, byShape } = options;
  const stepMs = median(steps.map(({ wallMs }) => wallMs));
  const keyOf = ({ kernel, shape }: KernelCall): string => (byShape ? `${kernel} ${shape}` : kernel);
  const byKernel = steps.map(({ calls }) => groupBy(calls, keyOf));
  const kernels = [...byKernel[0]!].map(([key, calls]): KernelResult => {
    const times = byKernel.map((step) => sumOf(step.get(key) ?? [], ({ ms }) => ms));
    const msPerStep = median(times);
    const flops = sumOf(calls, (call) => call.flops ?? 0);
    const gflops = flops / msPerStep / 1e6;
    return {
      name: calls[0]!.kernel,
      ...(byShape && { shape: calls[0]!.shape }),
      calls: calls.length,
      msPerStep,
      minMsPerStep: Math.min(...times),
      share: msPerStep / stepMs,
      ...(flops > 0 && { gflops, ...(fmaGflops !== undefined && { ofLimit: gflops / fmaGflops }) }),
      ...(flops === 0 && { gbytes: sumOf(calls, ({ bytes }) => bytes) / msPerStep / 1e6 }),
    };
  });
  return {
    stepMs,
    kernels: kernels.toSorted((a, b) => b.msPerStep - a.msPerStep),
    betweenMs: median(steps.map(({ calls, wallMs }) => wallMs - sumOf(calls, ({ ms }) => ms))),
  };
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}

function sumOf<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((sum, item) => sum + value(item), 0);
}
