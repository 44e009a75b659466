/** What the agent (main thread) and the replica (compute thread) say to each other. Types only. */
import type { MessagePort } from 'node:worker_threads';
import type { Batch } from '../base/batch.ts';
import type { Bucket } from '../comm/buckets.ts';
import type { EngineId, TensorTable } from '../comm/messageFields.ts';
import type { Config } from '../config/configTypes.ts';

/** What the run is, as the coordinator told this worker. */
export interface Job {
  readonly config: Config;
  readonly vocabSize: number;
  /** Name of the objective. */
  readonly objective: string;
  /** Of this worker's compute. */
  readonly threads: number;
  /** Of this worker, among those that share this machine's devices. */
  readonly localIndex: number;
  /** Some steps will be traced: the kernels must be observable. */
  readonly trace: boolean;
}

export interface BuildTask extends Job {
  /**
   * The replica posts [attempt, bucket] here as soon as all gradients of a bucket are final; back comes the same when the bucket is
   * reduced, unless the gradients lie in the host's memory.
   */
  readonly gradientPort: MessagePort;
  /** The attempt that is wanted: a step of another one ends before its next microbatch. On a SharedArrayBuffer. */
  readonly wanted: Int32Array;
}

export interface BuildResult {
  /** For people. */
  readonly engine: string;
  readonly engineId: EngineId;
  /** Floating-point operations a second of one of the `threads`; absent where the engine cannot measure it. */
  readonly measured?: { readonly threadFlops: number; readonly threads: number };
  readonly tensors: TensorTable;
  /** The flat gradients, shared with the main thread, which all-reduces them in place. */
  readonly gradients: Float32Array;
  /** They are the device's own, not a copy that it takes back. */
  readonly isInPlace: boolean;
  /** How the ring cuts `gradients`. */
  readonly buckets: readonly Bucket[];
  /** What a state consists of, in the order in which it is streamed: all parameters, moments of the trained ones. */
  readonly blocks: readonly StateBlock[];
  /** The blocks themselves, where the device's memory is the host's: only an update changes them. */
  readonly state?: readonly Float32Array[];
}

/** Tensors of one part of a state in one piece of memory, with padding between them. */
export interface StateBlock {
  /** Numbers in it, padding included. */
  readonly length: number;
  /** Where each tensor starts. */
  readonly offsets: readonly number[];
  /** Numbers in each tensor. */
  readonly sizes: readonly number[];
}

/** A copy of a state. */
export interface StateTask {
  /** Each as long as its block, on a SharedArrayBuffer, which the main thread has made. */
  readonly state: readonly Float32Array[];
}

/** A copy of the state: the task ends when it is ordered, and those that follow run beside it. */
export interface ExportTask extends StateTask {
  /** Takes the outcome of the copy. */
  readonly done: MessagePort;
}

export interface StepTask {
  /** Counts the steps begun, also those that are given up. */
  readonly attempt: number;
  /** 1 is the first. */
  readonly step: number;
  /** Index of the first sample in the global batch. */
  readonly sampleFrom: number;
  /** Its samples. */
  readonly batch: Batch;
  /** What the targets of the whole global batch count together. */
  readonly globalWeight: number;
  /** It is the only rank: its gradients are reduced as they are, and stay where they lie. */
  readonly isAlone: boolean;
  /** Note down what is computed when, from here to `takeSpans`. */
  readonly trace: boolean;
}

export interface EvaluateTask {
  readonly batch: Batch;
}

export interface ApplyTask {
  /** 1 is the first. */
  readonly step: number;
  readonly learningRate: number;
  /** The global norm of the reduced gradient, before clipping. */
  readonly gradNorm: number;
}
