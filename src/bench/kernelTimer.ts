/**
 * An Engine around any Engine that times each kernel of the interface while it is told to, and does nothing else. Kernels that are
 * added to the interface are timed without a change here. Times mean something where a kernel has run when its call returns or its
 * promise resolves, as on the native engine; others only enqueue.
 */
import type { Engine } from '../engine/engine.ts';
import { type KernelWork, kernelShape, kernelWork } from './kernelWork.ts';

/** The members of the interface that are no kernels. */
const housekeeping = [
  'name',
  'description',
  'alloc',
  'allocGroup',
  'release',
  'upload',
  'download',
  'hostView',
  'hostViewOfGroup',
  'finish',
  'memory',
  'dispose',
] as const satisfies readonly (keyof Engine)[];

export type KernelName = Exclude<keyof Engine, (typeof housekeeping)[number]>;

export interface KernelCall extends KernelWork {
  readonly kernel: KernelName;
  readonly shape: string;
  readonly ms: number;
}

/** As it is noted down; what it had to do is worked out later, so as not to take the step's time. */
interface NotedCall {
  readonly kernel: KernelName;
  readonly options: unknown;
  readonly ms: number;
}

type Method = (...args: unknown[]) => unknown;

export class KernelTimer {
  /** Computes what the engine inside computes. */
  readonly engine: Engine;
  #noted: NotedCall[] | undefined;

  constructor(inner: Engine) {
    const members = new Map<PropertyKey, unknown>();
    this.engine = new Proxy(inner, {
      get: (target, key) => {
        if (!members.has(key)) members.set(key, this.#memberOf(target, key as keyof Engine));
        return members.get(key);
      },
    });
  }

  /** Times the kernels that `body` calls. */
  async timed<T>(body: () => Promise<T>): Promise<{ calls: readonly KernelCall[]; result: T }> {
    const noted: NotedCall[] = [];
    this.#noted = noted;
    try {
      const result = await body();
      const calls = noted.map(({ kernel, options, ms }) => ({
        kernel,
        shape: kernelShape(options),
        ms,
        ...kernelWork(kernel, options),
      }));
      return { calls, result };
    } finally {
      this.#noted = undefined;
    }
  }

  #memberOf(inner: Engine, key: keyof Engine): unknown {
    const member: unknown = inner[key];
    if (typeof member !== 'function') return member;
    const method = (member as Method).bind(inner);
    return (housekeeping as readonly string[]).includes(key) ? method : this.#timedKernel(key as KernelName, method);
  }

  #timedKernel(kernel: KernelName, method: Method): Method {
    return (...args) => {
      const noted = this.#noted;
      if (noted === undefined) return method(...args);
      const start = performance.now();
      const note = (): void => {
        noted.push({ kernel, options: args[0], ms: performance.now() - start });
      };
      const result = method(...args);
      if (result instanceof Promise) return result.finally(note);
      note();
      return result;
    };
  }
}
