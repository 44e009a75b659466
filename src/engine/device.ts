/** A device: its memory, its copies to and from the host, its clock; the order in which all of it happens. */
import type { EnginePrecision } from './precision.ts';
import type { DType, HostArray, Shape, Tensor, TensorGroup } from './tensor.ts';

/** Device memory that the engine holds, in bytes. */
export interface EngineMemory {
  /** Bytes of the tensors in use. */
  readonly bytesInUse: number;
  /** Bytes of released tensors, kept for reuse. */
  readonly bytesPooled: number;
  /** The most that it held at a time. */
  readonly bytesPeak: number;
}

/**
 * A device's memory and its clock. All calls take effect in call order, as if each waited for the ones before it. A call only
 * enqueues, though, and the host continues. Calls that read (`download`, `copyOut`, `snapshot`, `checksum`, `squaredNorm`) see the
 * effects of earlier calls and none of later ones, which may run beside them: a tensor may be written or released while it is being
 * read. An engine whose kernels have finished when their calls return also reads within the call.
 * A device that is lost, or a kernel that fails late, rejects the next of these promises and all after it: the worker ends.
 */
export interface Device {
  /** The engine, as in the config: `native`, `tfjs` or `webgpu`. */
  readonly name: string;
  /** The kind of device it runs on: `cpu`, `wasm`, `gpu`. */
  readonly deviceKind: string;
  /** Which device of that kind it runs on, from 0. Engines on different devices of a kind compute alike. */
  readonly device: number;
  /** What of the device computes: an instruction set (`avx512`), a GPU's adapter. Engines that differ in it may round differently. */
  readonly unit: string;
  /** What it runs on, for people: `native (avx512, 2 threads)`, `webgpu (Apple M2)`. */
  readonly description: string;
  /** Whether `operands: 'float16'` of linear layers can be computed. Absent: no. */
  readonly hasFloat16?: boolean;
  /** Its memory is the host's: `hostRange` gives the groups themselves, and copies between a group and its range move nothing. */
  readonly isHost: boolean;

  /** A tensor from the pool; its contents are unspecified. */
  alloc(shape: Shape, dtype?: DType): Tensor;
  /** Zero-filled tensors in one block; lives until `dispose`. */
  allocGroup(shapes: readonly Shape[]): TensorGroup;
  /** Gives an `alloc`ed tensor back to the pool. It must not be used afterwards. */
  release(tensor: Tensor): void;
  /** Copies `data` (the tensor's size) in; `data` may be reused at once. */
  upload(tensor: Tensor, data: HostArray): void;
  /** Copies the contents out; resolves when they have arrived. */
  download(tensor: Tensor, into: HostArray): Promise<void>;

  /**
   * Host memory to copy elements [from, to) of a group to and from, on a SharedArrayBuffer: the group's own where `isHost`, else new,
   * as the device copies fastest.
   */
  hostRange(group: TensorGroup, from: number, to: number): Float32Array;
  /**
   * Copies elements [from, to) of a group's block to `into`, in shared memory. Nothing may touch `into` until the promise resolves.
   * Undefined: they are in `into` already.
   */
  copyOut(group: TensorGroup, from: number, to: number, into: Float32Array): Promise<void> | undefined;
  /** The inverse. It may run beside what was enqueued before; `data` must stay as it is until `finish` resolves. */
  copyIn(group: TensorGroup, from: number, to: number, data: Float32Array): void;
  /**
   * Copies entire groups, as they are now, to `into`: one array of the group's length in shared memory for each. Blocks the device
   * only for a copy within the device; resolves when everything is on the host.
   */
  snapshot(groups: readonly TensorGroup[], into: readonly Float32Array[]): Promise<void>;
  /**
   * 64 hex digits of the bits of every tensor of the groups, in order, without padding. Engines that compute the same bits, and so may
   * share a ring, give the same digits for them.
   */
  checksum(groups: readonly TensorGroup[]): Promise<string>;

  /** Resolves when all that is enqueued has run, copies too. */
  finish(): Promise<void>;
  /** What it holds now. */
  memory(): EngineMemory;
  /** Ends threads and frees memory. The engine must not be used afterwards. */
  dispose(): Promise<void>;

  /**
   * Floating-point operations a second that it reaches at best in products of numbers of this precision, measured for `seconds`;
   * undefined for a precision that it lacks.
   */
  peakFlops?(precision: EnginePrecision, seconds: number): Promise<number | undefined>;
  /** Bytes a second at which it reads `array` of the host, measured for `seconds`. */
  readBandwidth?(array: Float32Array, seconds: number): number;
  /** Threads of the host that its kernels run on. */
  readonly threads?: number;
  /** When kernels run, where that is not while they are called. Absent: the host's clock tells, from the call to its end. */
  readonly timings?: DeviceTimings;
}

/** The time of one kernel by the device's clock. */
export interface KernelTime {
  /** As in the interface. */
  readonly kernel: string;
  /** By `performance.now()`. */
  readonly startMs: number;
  /** How long it ran. */
  readonly ms: number;
}

/** Notes down when each kernel runs. */
export interface DeviceTimings {
  /** Begins, from the next kernel on, and forgets what nobody took. */
  start(): void;
  /** Ends; resolves to the kernels since `start` when they have run: one for each call, in the order of the calls. */
  take(): Promise<readonly KernelTime[]>;
}
