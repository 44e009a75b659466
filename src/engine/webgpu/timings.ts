/** The time of each kernel by the GPU's clock: timestamps before and after the passes that a kernel records. */
import type { DeviceTimings, KernelTime } from '../device.ts';
import type { Commands } from './commands.ts';
import { bufferUsage } from './constants.ts';

/** Timestamps in one set: the most that WebGPU allows. Each takes 8 bytes. */
const SET_SIZE = 4096;

/** One set of timestamps and the kernels between each two of them. */
interface TimedSet {
  readonly querySet: GPUQuerySet;
  readonly kernels: string[];
}

export class GpuTimings implements DeviceTimings {
  readonly #commands: Commands;
  #sets: TimedSet[] = [];
  #isOn = false;
  /** When the first kernel was recorded: the GPU's clock has another zero than the host's. */
  #startMs = 0;

  constructor(commands: Commands) {
    this.#commands = commands;
  }

  start(): void {
    this.#clear();
    this.#isOn = true;
  }

  /** Records a kernel. */
  kernel<T>(name: string, record: () => T): T {
    if (!this.#isOn) return record();
    const { querySet, kernels } = this.#openSet();
    const index = 2 * kernels.length;
    kernels.push(name);
    this.#commands.mark({ querySet, beginningOfPassWriteIndex: index });
    try {
      return record();
    } finally {
      this.#commands.mark({ querySet, endOfPassWriteIndex: index + 1 });
    }
  }

  async take(): Promise<readonly KernelTime[]> {
    this.#isOn = false;
    const sets = this.#sets;
    this.#sets = [];
    try {
      const times = await Promise.all(sets.map((set) => this.#read(set)));
      const first = times[0]?.[0] ?? 0n;
      return sets.flatMap(({ kernels }, i) =>
        kernels.map((kernel, j) => {
          const [from, to] = [times[i]![2 * j]!, times[i]![2 * j + 1]!];
          return { kernel, startMs: this.#startMs + Number(from - first) / 1e6, ms: Number(to - from) / 1e6 };
        }),
      );
    } finally {
      for (const { querySet } of sets) querySet.destroy();
    }
  }

  #openSet(): TimedSet {
    const last = this.#sets.at(-1);
    if (last !== undefined && 2 * last.kernels.length < SET_SIZE) return last;
    if (last === undefined) this.#startMs = performance.now();
    const querySet = this.#commands.device.createQuerySet({ type: 'timestamp', count: SET_SIZE });
    const set = { querySet, kernels: [] };
    this.#sets.push(set);
    return set;
  }

  /** The timestamps of a set, in nanoseconds. */
  async #read({ querySet, kernels }: TimedSet): Promise<BigUint64Array> {
    const { device } = this.#commands;
    const [count, bytes] = [2 * kernels.length, 16 * kernels.length];
    const resolved = device.createBuffer({ size: bytes, usage: bufferUsage.queryResolve });
    const staging = device.createBuffer({ size: bytes, usage: bufferUsage.staging });
    try {
      this.#commands.encode((encoder) => {
        encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
        encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
      });
      this.#commands.submit();
      await this.#commands.map(staging);
      return new BigUint64Array(staging.getMappedRange().slice(0));
    } finally {
      staging.destroy();
      resolved.destroy();
    }
  }

  /** A batch that is recorded may still write to the sets. */
  #clear(): void {
    if (this.#sets.length > 0) this.#commands.submit();
    for (const { querySet } of this.#sets) querySet.destroy();
    this.#sets = [];
  }
}
