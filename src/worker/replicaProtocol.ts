/** The messages between the agent (main thread) and the replica (compute thread). No code. */
import type { MessagePort } from 'node:worker_threads';
import type { Batch } from '../base/batch.ts';
import type { Bucket } from '../comm/buckets.ts';
import type { EngineId, TensorTable } from '../comm/messageFields.ts';
import type { Config } from '../config/configTypes.ts';

/** The run's parameters, as received from the coordinator. */
export interface Job {
  readonly config: Config;
  readonly vocabSize: number;
  /** Name of the objective. */
  readonly objective: string;
  /** Number of compute threads of this worker. */
  readonly threads: number;
  /** Index of this worker among those that share this machine's devices. */
  readonly localIndex: number;
  /** Some steps will be traced, so the kernels must be observable. */
  readonly trace: boolean;
}

export interface BuildTask extends Job {
  /**
   * The replica posts [attempt, bucket] here when all gradients of a bucket are final. The same comes back when the bucket is reduced,
   * unless the gradients are in host memory. `endDevice` may come at any time.
   */
  readonly gradientPort: MessagePort;
  /**
   * On a SharedArrayBuffer. Element 0: the requested attempt; a step of another one ends before its next micro-batch. Element
   * `deviceFlag`: whether the thread has a device, which it must end before it is ended itself.
   */
  readonly wanted: Int32Array;
}

export const deviceFlag = 1;
/** `none`: it computes on the host, or its device has ended. */
export const deviceFlags = { none: 0, open: 1 } as const;

/** Sent on `gradientPort`: end the device now, whatever is being computed. Tasks that wait for it then fail. */
export const endDevice = 'end';

export interface BuildResult {
  /** For display. */
  readonly engine: string;
  readonly engineId: EngineId;
  /** Floating-point operations per second of one of the `threads`; absent if the engine cannot measure it. */
  readonly measured?: { readonly threadFlops: number; readonly threads: number };
  readonly tensors: TensorTable;
  /** The flat gradients, shared with the main thread, which all-reduces them in place. */
  readonly gradients: Float32Array;
  /** They are in the device's memory, not a copy that it takes back. */
  readonly isInPlace: boolean;
  /** How a ring of few ranks divides `gradients` (`bucketsFor` in comm/buckets.ts). */
  readonly buckets: readonly Bucket[];
  /** The contents of a state in stream order: part after part. */
  readonly blocks: readonly StateBlock[];
  /** The blocks themselves, if the device's memory is the host's; only an update changes them. */
  readonly state?: readonly Float32Array[];
}

/** The tensors of one part of a state in one block of memory, with padding between them. */
export interface StateBlock {
  /** Number of elements, including padding. */
  readonly length: number;
  /** Start of each tensor. */
  readonly offsets: readonly number[];
  /** Number of elements in each tensor. */
  readonly sizes: readonly number[];
}

/** A copy of a state. */
export interface StateTask {
  /** Each is as long as its block, on a SharedArrayBuffer created by the main thread. */
  readonly state: readonly Float32Array[];
}

/** A copy of the state. The task ends when the copy is ordered; later tasks run beside it. */
export interface ExportTask extends StateTask {
  /** Receives the outcome of the copy. */
  readonly done: MessagePort;
}

export interface StepTask {
  /** Number of steps begun, including abandoned ones. */
  readonly attempt: number;
  /** Counted from 1. */
  readonly step: number;
  /** Index of the first sample in the global batch. */
  readonly sampleFrom: number;
  /** Number of its samples. */
  readonly batch: Batch;
  /** Total weight of all targets in the global batch. */
  readonly globalWeight: number;
  /** Number of ranks. The gradients of a single rank are reduced already, and stay in place. */
  readonly worldSize: number;
  /** Record computations from here until `takeSpans`. */
  readonly trace: boolean;
}

export interface EvaluateTask {
  readonly batch: Batch;
}

/** The weights of a policy at its start. */
export interface ReferenceTask {
  /** A safetensors file. */
  readonly file: Uint8Array;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** A part of the rollouts of an iteration. */
export interface RolloutTask {
  /** Counted from 1. */
  readonly iteration: number;
  /** As the coordinator sent them (task/rolloutBatch.ts); checked on the compute thread, which knows the model. */
  readonly prompts: Batch;
  /** The token that ends a completion; undefined: each is cut off. */
  readonly endToken: number | undefined;
}

export interface ApplyTask {
  /** Counted from 1. */
  readonly step: number;
  readonly learningRate: number;
  /** The global norm of the reduced gradient, before clipping. */
  readonly gradNorm: number;
}
