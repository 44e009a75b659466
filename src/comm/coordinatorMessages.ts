/** Every message that the coordinator sends to a worker, and what it means; when it is sent: protocol.ts. */
import { z } from 'zod';
import { batchFields, count, hash, measured, rank, runId, stateAck, stateChunk, text } from './messageFields.ts';
import { ringAddressLengthMax } from './ringAddress.ts';

/** Validates what the coordinator sends. */
export const coordinatorMessage = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('welcome'),
    runId,
    /** The resolved config; the worker parses it again. */
    config: z.record(z.string(), z.unknown()),
    /** Rows of the token embedding, where the config leaves them to the tokenizer. */
    vocabSize: count.min(1),
    /** What is learned from the samples (model/objectives), by its name. */
    objective: text,
    /** Some steps will be traced. */
    trace: z.boolean(),
    /** The file of the weights that a policy is compared with; absent: a worker has or makes them itself. */
    reference: z.object({ sha256: hash, bytes: count.min(1) }).exactOptional(),
  }),
  /** The answer to `referenceWanted`; payload: the bytes of the file from `offset` on. */
  z.object({ type: z.literal('referenceChunk'), offset: count }),
  /** The worker is not wanted: it speaks another version, or the run has ended. */
  z.object({ type: z.literal('refused'), reason: text }),
  /** The sender does not belong to the run any more, since it was silent for too long, say: it may join again. */
  z.object({ type: z.literal('fenced'), reason: text }),
  /** The membership of a term: take this rank, connect the ring, get the state ready. */
  z.object({
    type: z.literal('form'),
    term: count,
    rank,
    worldSize: rank.min(1),
    /** Ring address of rank + 1. */
    nextAddress: z.string().min(1).max(ringAddressLengthMax),
    /** Ring address of rank - 1, the only one that may connect. */
    previousAddress: z.string().min(1).max(ringAddressLengthMax),
    /** Updates applied to the state. */
    step: count,
    /** The term in which that step was committed. */
    committedTerm: count,
    /**
     * `keep`: what the replica holds is the state. `initialise`: make the initial one again. `receive`: stateChunks follow. `follow`: the
     * previous rank sends it, in frames of the ring.
     */
    state: z.enum(['keep', 'initialise', 'receive', 'follow']),
    /** Send the state to the next rank, while it comes if it has to come. */
    send: z.boolean(),
    /** Answer with the hash of the state. */
    verify: z.boolean(),
  }),
  /** The samples of a step for this rank; payload: their arrays (batchPayload.ts). */
  z.object({
    type: z.literal('assign'),
    term: count,
    step: count,
    /** Index of the first sample in the global batch. */
    sampleFrom: count,
    sampleCount: count,
    fields: batchFields,
    /** Total weight of the targets in the global batch, by which every loss is divided. */
    globalWeight: z.number().positive(),
    /** Tell what this worker does in the step, and when. */
    trace: z.boolean(),
  }),
  z.object({
    type: z.literal('commit'),
    term: count,
    step: count,
    learningRate: z.number().min(0),
    /** Global gradient norm before clipping, of rank 0: all clip by the same number, to the bit. If it is not finite, all skip the step. */
    gradNorm: measured,
    /** Answer with the hash of the parameters. */
    hash: z.boolean(),
    /** Do not start the next step before `proceed`. */
    hold: z.boolean(),
  }),
  /** One part of what a rank evaluates, counted from 0. Payload as in `assign`. */
  z.object({
    type: z.literal('evaluate'),
    term: count,
    step: count,
    part: count,
    sampleCount: count,
    fields: batchFields,
  }),
  /** A part of the rollouts of an iteration. Payload: its prompts, as in `assign`, which the worker completes. */
  z.object({
    type: z.literal('rollout'),
    term: count,
    step: count,
    /** Counted from 1. */
    iteration: count.min(1),
    part: count,
    sampleCount: count,
    fields: batchFields,
    /** The token that ends a completion; absent: only its length does. */
    endToken: count.exactOptional(),
  }),
  z.object({ type: z.literal('snapshot'), term: count, step: count }),
  z.object({ type: z.literal('proceed'), term: count, step: count }),
  stateChunk,
  stateAck,
  /** The checkpoint of this step could not be written: the rest of its state is not wanted. */
  z.object({ type: z.literal('stateGivenUp'), step: count }),
  z.object({ type: z.literal('heartbeat') }),
  /**
   * The worker's part is over; `failed`: because the run is; `unfinished`: a scheduler ended it before its last step, to start it again;
   * `interrupted`: a person did.
   */
  z.object({
    type: z.literal('stop'),
    reason: text,
    failed: z.boolean(),
    unfinished: z.literal(true).exactOptional(),
    interrupted: z.literal(true).exactOptional(),
  }),
]);

/** What the coordinator sends. */
export type CoordinatorMessage = z.infer<typeof coordinatorMessage>;
/** One kind of coordinator message. */
export type CoordinatorMessageOf<T extends CoordinatorMessage['type']> = Extract<CoordinatorMessage, { type: T }>;
