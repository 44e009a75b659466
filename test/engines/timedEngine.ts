/**
 * An engine whose device has a memory and a clock of its own, both simulated around another engine. Kernels have computed when
 * they were called, so that all sees the same numbers; but what the host learns of them it learns when the device would be through, by
 * the clock given, and not in an order that hides a mistake: what is copied out is written into the host's memory at the end of the
 * copy, and not before. Kernels run one after another, copies of each direction too; the three run beside one another.
 */
import type { Clock } from '../../src/base/clock.ts';
import type { KernelTime } from '../../src/engine/device.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { type KernelName, observeKernels } from '../../src/engine/observeKernels.ts';
import type { HostArray, Tensor, TensorGroup } from '../../src/engine/tensor.ts';

export interface DeviceTimes {
  /** Milliseconds that a kernel takes. */
  readonly kernelMs: (kernel: KernelName) => number;
  /** Milliseconds that a copy of that many numbers takes, to the device or from it. */
  readonly copyMs: (numbers: number) => number;
  /** Milliseconds until the host learns that the device is through: 0 if absent. */
  readonly answerMs?: number;
}

/** @param inner what computes; it must have the host's memory, of which nobody else learns */
export function timedEngine(inner: Engine, clock: Clock, times: DeviceTimes): Engine {
  const freeAtMs = { kernels: 0, out: 0, in: 0 };
  let kernelTimes: KernelTime[] | undefined;

  const occupy = (queue: keyof typeof freeAtMs, fromMs: number, ms: number): number => {
    const startMs = Math.max(clock.monotonic(), freeAtMs[queue], fromMs);
    freeAtMs[queue] = startMs + ms;
    return startMs;
  };
  const run = (kernel: KernelName): void => {
    const ms = times.kernelMs(kernel);
    const startMs = occupy('kernels', freeAtMs.in, ms);
    kernelTimes?.push({ kernel, startMs, ms });
  };
  const at = (ms: number): Promise<void> =>
    new Promise((resolve) => clock.after(Math.max(0, ms - clock.monotonic()), resolve));
  const afterKernels = (): Promise<void> => at(Math.max(freeAtMs.kernels, freeAtMs.in) + (times.answerMs ?? 0));

  const copyOut = async (values: Float32Array, into: Float32Array): Promise<void> => {
    const ms = times.copyMs(values.length);
    await at(occupy('out', Math.max(freeAtMs.kernels, freeAtMs.in), ms) + ms);
    into.set(values);
  };
  const valuesOf = (group: TensorGroup, from: number, to: number) => inner.hostRange(group, from, to).slice();

  const device = {
    name: 'timed',
    deviceKind: 'simulated',
    description: `timed (${inner.description})`,
    isHost: false,
    hostRange: (_: TensorGroup, from: number, to: number) => new Float32Array(new SharedArrayBuffer(4 * (to - from))),
    download: async (tensor: Tensor, into: HostArray) => {
      const values = into.slice();
      await inner.download(tensor, values);
      await afterKernels();
      into.set(values);
    },
    copyOut: (group: TensorGroup, from: number, to: number, into: Float32Array) =>
      copyOut(valuesOf(group, from, to), into),
    copyIn: (group: TensorGroup, from: number, to: number, data: Float32Array) => {
      inner.copyIn(group, from, to, data);
      occupy('in', 0, times.copyMs(to - from));
    },
    snapshot: async (groups: readonly TensorGroup[], into: readonly Float32Array[]) => {
      await Promise.all(groups.map((group, i) => copyOut(valuesOf(group, 0, group.length), into[i]!)));
    },
    checksum: async (groups: readonly TensorGroup[]) => {
      const digits = await inner.checksum(groups);
      await afterKernels();
      return digits;
    },
    squaredNorm: async (group: TensorGroup) => {
      run('squaredNorm');
      const norm = await inner.squaredNorm(group);
      await afterKernels();
      return norm;
    },
    finish: () => at(Math.max(...Object.values(freeAtMs))),
    timings: {
      start: () => {
        kernelTimes = [];
      },
      take: async () => {
        await afterKernels();
        const taken = kernelTimes ?? [];
        kernelTimes = undefined;
        return taken;
      },
    },
  };
  const timed = observeKernels(inner, () => run);
  return new Proxy(timed, {
    get: (target, key) => (key in device ? device[key as keyof typeof device] : Reflect.get(target, key)) as unknown,
  });
}
