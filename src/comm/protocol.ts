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
 *     W→C referenceWanted  what a policy is compared with, piece by piece, if the run has it   C→W referenceChunk
     W→C prepared  the replica is built: it may be taken in at the next step boundary
 *     C→W form      a new term: rank, ring neighbours, and whether to keep the state, to receive it, and to pass it on to the next rank
 *     W→C ready     (with a hash of the state, where somebody received it: all ranks must agree)
 *     C→W proceed   train; a term begins held
 *     C→W assign    step s+1 while step s runs: one step ahead
 *     W→C reduced   gradients of step s are summed on this rank
 *     C→W commit    every rank said so: apply AdamW; W→C applied
 *     C→W evaluate, snapshot, rollout, then proceed or form: only while the workers hold
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
import type { z } from 'zod';
import { messageOf, PeerError } from '../base/errors.ts';
import { type CoordinatorMessage, coordinatorMessage } from './coordinatorMessages.ts';
import { anyJoin, type WorkerMessage, workerMessage } from './workerMessages.ts';

/** Raised with every incompatible change of a message; peers of another version are refused. */
export const protocolVersion = 13;

/** Largest control message, payload excluded, that is decoded. The tensor table of a deep model is the biggest part of any. */
const messageBytesMax = 4 << 20;

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
  // Only a join can be of another version, and a check that fails costs more than the others of a message together.
  const foreign = isJoin(value) ? anyJoin.safeParse(value) : undefined;
  if (foreign?.success && foreign.data.protocolVersion !== protocolVersion) {
    const { version = 'unknown' } = foreign.data;
    const unknown = { host: 'unknown', pid: 0, worker: 'unknown', ringAddress: 'unknown' };
    return { ...foreign.data, version, ...unknown };
  }
  return validate(workerMessage, value);
}

/** @throws PeerError if the frame is not a message that the coordinator may send */
export function decodeCoordinatorMessage(frame: Uint8Array): CoordinatorMessage {
  return decodeFrame(coordinatorMessage, frame);
}

function isJoin(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'join';
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

/** @throws PeerError if the frame is not a message of this schema */
export function decodeFrame<T>(schema: z.ZodType<T>, frame: Uint8Array): T {
  return validate(schema, unpack(frame));
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
