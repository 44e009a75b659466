/**
 * The control protocol between the coordinator and its workers: every message, who sends it, and what it means.
 * Gradients do not travel here but around the ring (ringFrames.ts).
 *
 * A message is one msgpack frame, optionally followed by one raw payload frame:
 *
 *     ┌──────────────────────────────┐┌───────────────────────────────┐
 *     │ msgpack { type, … }          ││ payload (assign, stateChunk…) │
 *     └──────────────────────────────┘└───────────────────────────────┘
 *
 * The life of a worker W in a run of the coordinator C:
 *
 *     W→C join      with the step that its replica is at         C→W welcome | refused
 *     W→C prepared  the replica is built: it may be taken in at the next step boundary
 *     C→W form      a new epoch: rank, ring neighbours, and whether to keep the state, to receive it, or to send it to others
 *     W→C ready     (with a hash of the state, where somebody received it: all ranks must agree)
 *     C→W proceed   train; an epoch begins held
 *     C→W assign    step s+1 while step s runs: one step ahead
 *     W→C reduced   gradients of step s are summed on this rank
 *     C→W commit    every rank said so: apply AdamW; W→C applied
 *     C→W evaluate, snapshot, then proceed or form: only while the workers hold
 *     W→C leave     it wants to go: C→W stop at the next boundary
 *     C→W stop
 *
 * Whenever a member is lost, or its ring breaks, the coordinator sends a new `form`: what the workers do for the step that is not
 * committed is given up, and its samples are assigned anew. A worker that loses its connection joins again and says what it has;
 * one that no longer belongs to the run is told `fenced`, and joins again likewise.
 *
 * Everything that comes from the wire is validated here, once; inside, the types are trusted.
 */
import { Packr } from 'msgpackr';
import { z } from 'zod';
import { messageOf, PeerError } from '../base/errors.ts';

/** Raised with every incompatible change of a message; peers of another version are refused. */
export const protocolVersion = 4;

/** Largest control message, payload excluded, that is decoded. The tensor table of a deep model is the biggest part of any. */
const messageBytesMax = 4 << 20;

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const rank = z.number().int().min(0).max(65_535);
const text = z.string().max(4_096);
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const peerName = z.string().regex(/^[A-Za-z0-9._-]{1,48}$/);
const runId = z.string().min(1).max(64);
const milliseconds = z.number().min(0);

/** What a worker is doing, as the messages of a failure name it. */
const workerPhases = [
  'starting',
  'building',
  'receiving state',
  'waiting for work',
  'forward and backward',
  'all-reduce',
  'waiting for commit',
  'optimizer',
  'evaluation',
  'snapshot',
  'stopping',
] as const;
export type WorkerPhase = (typeof workerPhases)[number];
const phase = z.enum(workerPhases);

const tensorTable = z
  .array(z.object({ name: z.string().min(1).max(256), shape: z.array(z.number().int().min(1)).min(1).max(4) }))
  .min(1)
  .max(65_536);
/** The table of parameters, in the order in which they lie in a state stream. */
export type TensorTable = z.infer<typeof tensorTable>;

const computeLimit = z.object({
  /** Floating-point operations a second of one compute thread, measured on registers in the precision of the run. */
  threadFlops: z.number().positive(),
  /** Compute threads of the worker. */
  threads: count.min(1),
  /** Of its machine, which other workers may share. */
  cores: count.min(1),
});
/** What a worker could compute at best. */
export type ComputeLimit = z.infer<typeof computeLimit>;

const stepTimings = z.object({
  /** Waiting for the tokens of the step. */
  dataWaitMs: milliseconds,
  /** Both passes over all its microbatches. */
  forwardBackwardMs: milliseconds,
  /** From the end of backward to the last reduced bucket: the communication that was not overlapped. */
  ringWaitMs: milliseconds,
  /** From `reduced` to `commit`: on the rank that is last, what the round trip takes; on others also what they wait for it. */
  commitWaitMs: milliseconds,
  /** The norm of the gradient, before `reduced`, and AdamW. */
  optimizerMs: milliseconds,
});
/** Time that a rank spent in each part of a step, in milliseconds. */
export interface StepTimings extends z.infer<typeof stepTimings> {}

/** One piece of a state stream: parameters, first moments, second moments, each in the order of the tensor table. */
const stateStream = {
  /** A checkpoint goes from a member to the coordinator; a transfer from a member or a checkpoint to a worker that has no state. */
  purpose: z.enum(['checkpoint', 'transfer']),
  epoch: count,
  step: count,
  offset: count,
};
const stateChunk = z.object({ type: z.literal('stateChunk'), ...stateStream });
/** Received and stored up to this offset: the sender may go on. */
const stateAck = z.object({ type: z.literal('stateAck'), ...stateStream });
/** What a stream of state is for. */
export type StreamPurpose = z.infer<typeof stateChunk>['purpose'];

const stateClaim = z.object({
  /** Updates applied to the replica; 0 is the initial state. */
  step: count,
  /** The epoch in which that step was committed. */
  epoch: count,
  /** A step whose gradients are reduced on the replica, and whose commit has not come. */
  pending: z.object({ step: count, epoch: count }).optional(),
});
/** What a worker's replica holds. Step and epoch of the commit together name one state, to the bit. */
export type StateClaim = z.infer<typeof stateClaim>;

const workerMessage = z.discriminatedUnion('type', [
  /** First message of a worker. */
  z.object({
    type: z.literal('join'),
    protocolVersion: z.number().int(),
    version: text,
    host: text,
    pid: count,
    /** The name that stays when the worker comes back through another connection. */
    worker: peerName,
    /** The run that it belongs to, if it was welcomed before. */
    runId: runId.optional(),
    /** Where the previous rank of the ring connects to. */
    ringAddress: z.string().min(1).max(512),
    /** Absent: nothing that could be used. */
    state: stateClaim.optional(),
    /** What `launch` gave out for joining this run; absent where it gave out nothing (`--no-encrypt`). */
    token: z.string().max(256).exactOptional(),
  }),
  /** The replica is built. */
  z.object({
    type: z.literal('prepared'),
    engine: text,
    tensors: tensorTable,
    /** Absent where it cannot be measured. */
    limit: computeLimit.exactOptional(),
  }),
  /** The state is in place and the ring is connected. */
  z.object({
    type: z.literal('ready'),
    epoch: count,
    /** Updates applied to the state. */
    step: count,
    /** Of parameters and moments; present where `form` asked for it. */
    stateHash: hash.optional(),
  }),
  /** The gradients of the step are summed over all ranks, on this rank. */
  z.object({
    type: z.literal('reduced'),
    epoch: count,
    step: count,
    /** The samples of the global batch that this rank has computed: [sampleFrom, sampleFrom + sampleCount). */
    sampleFrom: count,
    sampleCount: count,
    /** Sum of the losses of this rank's targets, and their number. */
    lossSum: z.number(),
    targets: count,
    /** Global gradient norm before clipping, the same on every rank. */
    gradNorm: z.number(),
  }),
  /** AdamW has been applied for the step. */
  z.object({
    type: z.literal('applied'),
    epoch: count,
    step: count,
    timings: stepTimings,
    ringBytesSent: count,
    /** Present where `commit` asked for it. */
    parameterHash: hash.optional(),
  }),
  z.object({
    type: z.literal('evaluated'),
    epoch: count,
    step: count,
    part: count,
    lossSum: z.number(),
    targets: count,
  }),
  /** The worker can go on. The state as it is now follows as stateChunks. */
  z.object({ type: z.literal('snapshotTaken'), epoch: count, step: count, bytes: count }),
  stateChunk,
  stateAck,
  /** A sign of life, every heartbeatIntervalMs; the coordinator answers it. */
  z.object({
    type: z.literal('heartbeat'),
    step: count,
    phase,
    /** Ring frames received in this step: whether the ring moves. */
    ringFrames: count,
  }),
  /** What the worker did in a step that is traced; payload: spans (spans.ts). It changes nothing for the run. */
  z.object({
    type: z.literal('trace'),
    epoch: count,
    step: count,
    /** By the clock that the spans have. */
    sentAtMs: z.number().finite(),
    /** Spans that were left out, since there were too many. */
    dropped: count,
  }),
  /**
   * A new phase, told at once, so that the message of a failure names the right one; those that follow from `reduced`,
   * `commit`, `applied` and `proceed` are not told. Not answered.
   */
  z.object({ type: z.literal('phase'), step: count, phase }),
  /** The ring of this epoch does not work; the worker waits for the next one. */
  z.object({
    type: z.literal('ringBroken'),
    epoch: count,
    step: count,
    /** The neighbour that it blames, if any. */
    suspect: rank.optional(),
    /** That it has received in the step. */
    ringFrames: count,
    message: text,
  }),
  /** The worker wants to go, at the next step boundary. */
  z.object({ type: z.literal('leave') }),
  /** The worker cannot go on; it ends after this message. */
  z.object({
    type: z.literal('failed'),
    step: count,
    phase,
    message: z.string().max(65_536),
    /** Whose fault it is: the user's input, a peer's, or this worker's own. */
    blame: z.enum(['user', 'peer', 'run']),
  }),
]);

/** What a `join` has in every version of the protocol, so that a peer of another one can be told so. */
const anyJoin = z.object({
  type: z.literal('join'),
  protocolVersion: z.number().int(),
  version: text.optional().catch(undefined),
});

const coordinatorMessage = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('welcome'),
    runId,
    /** The resolved config; the worker parses it again. */
    config: z.record(z.string(), z.unknown()),
    vocabSize: count.min(1),
    /** Some steps will be traced. */
    trace: z.boolean(),
  }),
  /** The worker is not wanted: it speaks another version, or the run has ended. */
  z.object({ type: z.literal('refused'), reason: text }),
  /** The sender does not belong to the run any more, since it was silent for too long, say: it may join again. */
  z.object({ type: z.literal('fenced'), reason: text }),
  /** The membership of an epoch: take this rank, connect the ring, get the state ready. */
  z.object({
    type: z.literal('form'),
    epoch: count,
    rank,
    worldSize: rank.min(1),
    /** Ring address of rank + 1. */
    nextAddress: z.string().min(1).max(512),
    /** Ring address of rank - 1, the only one that may connect. */
    previousAddress: z.string().min(1).max(512),
    /** Updates applied to the state. */
    step: count,
    /** The epoch in which that step was committed. */
    committedEpoch: count,
    /** `keep`: what the replica holds is the state. `initialise`: make the initial one again. `receive`: stateChunks follow. */
    state: z.enum(['keep', 'initialise', 'receive']),
    /** Stream the state to the coordinator, which passes it on. */
    send: z.boolean(),
    /** Answer with the hash of the state. */
    verify: z.boolean(),
  }),
  /** The samples of a step for this rank; payload: int32 tokens [count, T], then int32 targets [count, T]. */
  z.object({
    type: z.literal('assign'),
    epoch: count,
    step: count,
    /** Index of the first sample in the global batch. */
    sampleFrom: count,
    sampleCount: count,
    /** Targets of the whole global batch: every loss is divided by it. */
    globalTargets: count.min(1),
    /** Tell what this worker does in the step, and when. */
    trace: z.boolean(),
  }),
  z.object({
    type: z.literal('commit'),
    epoch: count,
    step: count,
    learningRate: z.number().min(0),
    /** Answer with the hash of the parameters. */
    hash: z.boolean(),
    /** Do not start the next step before `proceed`. */
    hold: z.boolean(),
  }),
  /** One part of what a rank evaluates, counted from 0. Payload as in `assign`; targets of -1 do not count. */
  z.object({ type: z.literal('evaluate'), epoch: count, step: count, part: count, sampleCount: count }),
  z.object({ type: z.literal('snapshot'), epoch: count, step: count }),
  z.object({ type: z.literal('proceed'), epoch: count, step: count }),
  stateChunk,
  stateAck,
  /** The checkpoint of this step could not be written: the rest of its state is not wanted. */
  z.object({ type: z.literal('stateGivenUp'), step: count }),
  z.object({ type: z.literal('heartbeat') }),
  /** The worker's part is over; `failed`: because the run is. */
  z.object({ type: z.literal('stop'), reason: text, failed: z.boolean() }),
]);

/** What a worker sends. */
export type WorkerMessage = z.infer<typeof workerMessage>;
/** What the coordinator sends. */
export type CoordinatorMessage = z.infer<typeof coordinatorMessage>;
/** One kind of worker message. */
export type WorkerMessageOf<T extends WorkerMessage['type']> = Extract<WorkerMessage, { type: T }>;
/** What a worker that cannot go on says of it: to the coordinator, and as it exits to whoever started it. */
export type WorkerFailure = Omit<WorkerMessageOf<'failed'>, 'type'>;
/** One kind of coordinator message. */
export type CoordinatorMessageOf<T extends CoordinatorMessage['type']> = Extract<CoordinatorMessage, { type: T }>;

// Records would make each frame depend on those before it; plain maps keep every message readable by itself.
const packr = new Packr({ useRecords: false });

/** Bytes of a state stream in one stateChunk. */
export const stateChunkBytes = 4 << 20;
/** Chunks of a state stream that may be under way without an acknowledgement. */
export const stateChunksInFlight = 4;

export function encodeMessage(message: WorkerMessage | CoordinatorMessage): Uint8Array {
  return packr.pack(message);
}

/** @throws PeerError if the frame is not a message that a worker may send */
export function decodeWorkerMessage(frame: Uint8Array): WorkerMessage {
  const value = unpack(frame);
  const foreign = anyJoin.safeParse(value);
  if (foreign.success && foreign.data.protocolVersion !== protocolVersion) {
    const { version = 'unknown' } = foreign.data;
    const unknown = { host: 'unknown', pid: 0, worker: 'unknown', ringAddress: 'unknown' };
    return { ...foreign.data, version, ...unknown };
  }
  return validate(workerMessage, value);
}

/** @throws PeerError if the frame is not a message that the coordinator may send */
export function decodeCoordinatorMessage(frame: Uint8Array): CoordinatorMessage {
  return validate(coordinatorMessage, unpack(frame));
}

function unpack(frame: Uint8Array): unknown {
  if (frame.byteLength > messageBytesMax) {
    throw new PeerError(`expected a control message of at most ${messageBytesMax} bytes, received ${frame.byteLength}`);
  }
  try {
    return packr.unpack(frame);
  } catch (error) {
    throw new PeerError(`expected a msgpack control message, received ${frame.byteLength} bytes: ${messageOf(error)}`);
  }
}

function validate<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new PeerError(
      `malformed control message: ${issue?.path.join('.') || 'message'}: ${issue?.message ?? 'unknown'}`,
    );
  }
  return parsed.data;
}

/** Tokens and targets, each [samples, blockSize]. */
export interface Batch {
  readonly tokens: Int32Array;
  readonly targets: Int32Array;
}

/** The payload of `assign` and `evaluate`. */
export function encodeBatch(batch: Batch): Uint8Array {
  const both = new Int32Array(batch.tokens.length + batch.targets.length);
  both.set(batch.tokens);
  both.set(batch.targets, batch.tokens.length);
  return new Uint8Array(both.buffer);
}

/** @throws PeerError if the size is wrong or a token is outside the vocabulary */
export function decodeBatch(
  payload: Uint8Array | undefined,
  { sampleCount, blockSize, vocabSize }: { sampleCount: number; blockSize: number; vocabSize: number },
): Batch {
  const size = sampleCount * blockSize;
  if ((payload?.byteLength ?? 0) !== size * 8) {
    throw new PeerError(
      `expected ${size * 8} bytes of tokens (${sampleCount} samples), received ${payload?.byteLength ?? 0}`,
    );
  }
  const both = new Int32Array(new Uint8Array(payload ?? []).buffer);
  const tokens = both.subarray(0, size);
  const targets = both.subarray(size);
  for (let i = 0; i < size; i++) {
    const token = tokens[i] ?? -1;
    const target = targets[i] ?? -2;
    if (token < 0 || token >= vocabSize || target < -1 || target >= vocabSize) {
      throw new PeerError(`expected tokens below ${vocabSize}, received token ${token}, target ${target}`);
    }
  }
  return { tokens, targets };
}
