/** Summarises the timed calls of some steps: one line per kernel, and the time between kernels. */
import { median } from '../base/statistics.ts';
import type { KernelCall, KernelTimer } from './kernelTimer.ts';
import { type Limits, limitIn } from './machine.ts';

export interface KernelResult {
  /** The kernel's name in the engine interface, and its precision if that is not float32. */
  readonly name: string;
  /** Shape of all its calls, if shapes are separated. */
  readonly shape?: string;
  /** Number of calls per step. */
  readonly calls: number;
  /** Time of all its calls in one step: the median over the steps, and the minimum. */
  readonly msPerStep: number;
  readonly minMsPerStep: number;
  /** `msPerStep` divided by the median time of the full step. */
  readonly share: number;
  /** 10^9 per second: floating-point operations of products and attention, otherwise bytes read and written. */
  readonly gflops?: number;
  /** `gflops` divided by the machine's limit for such numbers. */
  readonly ofLimit?: number;
  readonly gbytes?: number;
}

export interface KernelSummary {
  /** The clock that timed the kernels: the device's, or the host's from a call to its end if the device has none. */
  readonly clock: KernelTimer['clock'];
  /** Median of the steps whose kernels were timed. */
  readonly stepMs: number;
  /** In descending order of time. */
  readonly kernels: readonly KernelResult[];
  /** The rest of a step: the tape, copies of tokens, calls to the addon. */
  readonly betweenMs: number;
}

export interface TimedStep {
  readonly calls: readonly KernelCall[];
  readonly wallMs: number;
}

export function summariseKernels(
  steps: readonly TimedStep[],
  options: {
    machine: Limits | undefined;
    byShape: boolean;
    clock: KernelSummary['clock'];
  },
): KernelSummary {
  const { machine, byShape, clock } = options;
  const stepMs = median(steps.map(({ wallMs }) => wallMs));
  const keyOf = (call: KernelCall): string => (byShape ? `${nameOf(call)} ${call.shape}` : nameOf(call));
  const byKernel = steps.map(({ calls }) => groupBy(calls, keyOf));
  const kernels = [...byKernel[0]!].map(([key, calls]): KernelResult => {
    const times = byKernel.map((step) => sumOf(step.get(key) ?? [], ({ ms }) => ms));
    const msPerStep = median(times);
    const flops = sumOf(calls, (call) => call.flops ?? 0);
    const gflops = flops / msPerStep / 1e6;
    const limit = machine && limitIn(calls[0]!.precision ?? 'float32', machine);
    return {
      name: nameOf(calls[0]!),
      ...(byShape && { shape: calls[0]!.shape }),
      calls: calls.length,
      msPerStep,
      minMsPerStep: Math.min(...times),
      share: msPerStep / stepMs,
      ...(flops > 0 && { gflops, ...(limit !== undefined && { ofLimit: gflops / limit }) }),
      ...(flops === 0 && { gbytes: sumOf(calls, ({ bytes }) => bytes) / msPerStep / 1e6 }),
    };
  });
  return {
    clock,
    stepMs,
    kernels: kernels.toSorted((a, b) => b.msPerStep - a.msPerStep),
    betweenMs: median(steps.map(({ calls, wallMs }) => wallMs - sumOf(calls, ({ ms }) => ms))),
  };
}

/** Kernels of each precision are separate, because their limit differs. */
function nameOf({ kernel, precision = 'float32' }: KernelCall): string {
  return precision === 'float32' ? kernel : `${kernel} ${precision}`;
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
