/** Every message that a worker sends to the coordinator, and what it means; when it is sent: protocol.ts. */
import { z } from 'zod';
import {
  batchFields,
  computeLimit,
  count,
  engineId,
  hash,
  measured,
  peerName,
  phase,
  rank,
  runId,
  stateAck,
  stateChunk,
  stateClaim,
  stepTimings,
  sums,
  tensorTable,
  text,
} from './messageFields.ts';
import { ringAddressLengthMax } from './ringAddress.ts';

/** Validates what a worker sends. */
export const workerMessage = z.discriminatedUnion('type', [
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
    /** Where the previous rank of the ring connects to (ringAddress.ts). */
    ringAddress: z.string().min(1).max(ringAddressLengthMax),
    /** Absent: nothing that could be used. */
    state: stateClaim.optional(),
    /** What `launch` gave out for joining this run; absent where it gave out nothing (`--no-encrypt`). */
    token: z.string().max(256).exactOptional(),
    /** The node of a job that it belongs to: its rank, and the start of it; absent if its machine has none. */
    node: z.object({ rank: count, start: z.string().max(64) }).exactOptional(),
  }),
  /** Asks for the reference named in `welcome`, from this byte on. Asked again after a lost connection. */
  z.object({ type: z.literal('referenceWanted'), offset: count }),
  /** The replica is built. */
  z.object({
    type: z.literal('prepared'),
    /** For people. */
    engine: text,
    engineId,
    tensors: tensorTable,
    /** Absent where it cannot be measured. */
    limit: computeLimit.exactOptional(),
    /** Checksum of what a policy is compared with; absent if the replica has no parameters of its own for it. */
    referenceHash: hash.exactOptional(),
  }),
  /** The state is in place and the ring is connected. */
  z.object({
    type: z.literal('ready'),
    term: count,
    /** Updates applied to the state. */
    step: count,
    /** Checksum of the state; present if `form` requested it. */
    stateHash: hash.optional(),
  }),
  /** The gradients of the step are summed over all ranks, on this rank. */
  z.object({
    type: z.literal('reduced'),
    term: count,
    step: count,
    /** The samples of the global batch that this rank has computed: [sampleFrom, sampleFrom + sampleCount). */
    sampleFrom: count,
    sampleCount: count,
    /** Over this rank's targets. */
    sums,
    /** Global gradient norm before clipping; its last bits depend on the engine. */
    gradNorm: measured,
  }),
  /** AdamW has been applied for the step. */
  z.object({
    type: z.literal('applied'),
    term: count,
    step: count,
    timings: stepTimings,
    ringBytesSent: count,
    /** Present where `commit` asked for it. */
    parameterHash: hash.optional(),
  }),
  z.object({
    type: z.literal('evaluated'),
    term: count,
    step: count,
    part: count,
    sums,
  }),
  /** A part of the rollouts is made. Payload: their arrays, as in `assign`. */
  z.object({
    type: z.literal('rolledOut'),
    term: count,
    step: count,
    iteration: count.min(1),
    part: count,
    sampleCount: count,
    fields: batchFields,
  }),
  /** The worker can continue. The current state follows as stateChunks. */
  z.object({ type: z.literal('snapshotTaken'), term: count, step: count, bytes: count }),
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
    term: count,
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
  /** The ring of this term does not work; the worker waits for the next one. */
  z.object({
    type: z.literal('ringBroken'),
    term: count,
    step: count,
    /** The neighbour that it blames. */
    suspect: rank,
    /** That it has received in the step. */
    ringFrames: count,
    message: text,
    /** The addresses at which it did not reach the suspect, each with what happened, if that is what is wrong. */
    unreached: text.exactOptional(),
  }),
  /** The worker wants to go, at the next step boundary. */
  z.object({ type: z.literal('leave') }),
  /** The worker cannot continue; it ends after this message. */
  z.object({
    type: z.literal('failed'),
    step: count,
    phase,
    message: z.string().max(65_536),
    /** Whose fault it is: the user's input, a peer's, or this worker's own. */
    blame: z.enum(['user', 'peer', 'run']),
  }),
]);

/** What a worker sends. */
export type WorkerMessage = z.infer<typeof workerMessage>;
/** One kind of worker message. */
export type WorkerMessageOf<T extends WorkerMessage['type']> = Extract<WorkerMessage, { type: T }>;
/** A worker's report that it cannot continue: sent to the coordinator, and at its exit to the process that started it. */
export type WorkerFailure = Omit<WorkerMessageOf<'failed'>, 'type'>;

/** What a `join` has in every version of the protocol, so that a peer of another one can be told so. */
export const anyJoin = z.object({
  type: z.literal('join'),
  protocolVersion: z.number().int(),
  version: text.optional().catch(undefined),
});
