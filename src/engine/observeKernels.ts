/**
 * An Engine around any Engine that tells of each kernel of the interface while somebody listens, and does nothing else. Kernels that
 * are added to the interface are told of without a change here. Times are the host's: they mean something where a kernel has run when its
 * call returns or its promise resolves, as on the native engine; what others enqueue their `timings` tell.
 */
import type { Device } from './device.ts';
import type { Engine } from './engine.ts';
import type { Kernels } from './kernels.ts';

/** The members of the interface that are not kernels: all of `Device`. */
const housekeeping = {
  name: true,
  deviceKind: true,
  device: true,
  unit: true,
  description: true,
  isHost: true,
  hasFloat16: true,
  alloc: true,
  allocGroup: true,
  release: true,
  upload: true,
  download: true,
  hostRange: true,
  copyOut: true,
  copyIn: true,
  snapshot: true,
  checksum: true,
  finish: true,
  memory: true,
  dispose: true,
  peakFlops: true,
  readBandwidth: true,
  threads: true,
  timings: true,
} as const satisfies Record<keyof Device, true>;

export type KernelName = keyof Kernels;

/** Called after a kernel; times are of `performance.now()`. */
export type KernelObserver = (kernel: KernelName, options: unknown, startMs: number, endMs: number) => void;

type Method = (...args: unknown[]) => unknown;

/** @param observer asked at each call who listens; undefined: nobody */
export function observeKernels(inner: Engine, observer: () => KernelObserver | undefined): Engine {
  const members = new Map<PropertyKey, unknown>();
  return new Proxy(inner, {
    get: (target, key) => {
      if (!members.has(key)) members.set(key, memberOf(target, key as keyof Engine, observer));
      return members.get(key);
    },
  });
}

function memberOf(inner: Engine, key: keyof Engine, observer: () => KernelObserver | undefined): unknown {
  const member: unknown = inner[key];
  if (typeof member !== 'function') return member;
  const method = (member as Method).bind(inner);
  return key in housekeeping ? method : observed(key as KernelName, method, observer);
}

function observed(kernel: KernelName, method: Method, observer: () => KernelObserver | undefined): Method {
  return (...args) => {
    const tell = observer();
    if (tell === undefined) return method(...args);
    const startMs = performance.now();
    const ended = (): void => tell(kernel, args[0], startMs, performance.now());
    const result = method(...args);
    if (result instanceof Promise) return result.finally(ended);
    ended();
    return result;
  };
}
