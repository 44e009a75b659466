/**
 * What messages of the control protocol (protocol.ts) are made of: the fields of several kinds, with their bounds, and the messages
 * that both sides send. All of it validates what came over the wire.
 */
import { z } from 'zod';
import { stateParts } from '../base/stateParts.ts';

export const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
export const rank = z.number().int().min(0).max(65_535);
/** Characters of a text for people. */
export const textMax = 4_096;
export const text = z.string().max(textMax);
export const hash = z.string().regex(/^[0-9a-f]{64}$/);
export const peerName = z.string().regex(/^[A-Za-z0-9._-]{1,48}$/);
export const runId = z.string().min(1).max(64);
export const milliseconds = z.number().min(0);

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
  'rollout',
  'snapshot',
  'stopping',
] as const;
export type WorkerPhase = (typeof workerPhases)[number];
export const phase = z.enum(workerPhases);

/** The name of an array in a batch, or of a sum: a word, which is harmless as a key. */
const fieldName = z.string().regex(/^[a-z][A-Za-z0-9]{0,47}$/);
const fieldsMax = 16;
const sumsMax = 64;

export const batchFields = z
  .array(
    z.object({
      name: fieldName,
      dtype: z.enum(['int32', 'float32']),
      /** The shape for one sample. */
      shape: z.array(z.number().int().min(1).max(0x7fff_ffff)).max(4),
      /** The payload has windows of these numbers in place of this array and the next one: batchPayload.ts. */
      window: z.enum(['uint16', 'uint32']).exactOptional(),
    }),
  )
  .min(1)
  .max(fieldsMax);
/** The arrays of a batch, in payload order (batchPayload.ts). */
export type BatchFields = z.infer<typeof batchFields>;

/** A measurement, which is NaN or infinite where training has diverged. */
export const measured = z.custom<number>((value) => typeof value === 'number', 'expected a number');

/** Named sums over targets, which add up (base/sums.ts): what they mean is the objective's to say. */
export const sums = z
  .object({ weight: z.number().min(0), loss: measured })
  .catchall(measured)
  .refine(
    (value) =>
      Object.keys(value).length <= sumsMax && Object.keys(value).every((name) => fieldName.safeParse(name).success),
    `expected at most ${sumsMax} sums, each with a word for a name`,
  );

/** The names of sums, where their numbers are in another place. */
export const sumNames = z
  .array(fieldName)
  .max(sumsMax)
  .refine(
    (names) => names.includes('weight') && names.includes('loss') && new Set(names).size === names.length,
    'expected weight, loss, and each name once',
  );

export const tensorTable = z
  .array(
    z.object({
      name: z.string().min(1).max(256),
      shape: z.array(z.number().int().min(1)).min(1).max(4).readonly(),
      /** Its parts; only the first if it is frozen. */
      parts: z.array(z.enum(stateParts)).min(1).max(stateParts.length).readonly(),
    }),
  )
  .min(1)
  .max(65_536)
  .readonly();
/** The table of parameters, in the order of a state stream: part after part, of all parameters that have it. */
export type TensorTable = z.infer<typeof tensorTable>;

/** Short, so that a refusal that names two engines is within `text`. */
export const engineWordMax = 128;
const engineWord = z.string().min(1).max(engineWordMax);

export const engineId = z.object({
  /** `native`, `tfjs`. */
  engine: engineWord,
  /** `cpu`, `gpu`. */
  deviceKind: engineWord,
  /** What of the device computes: an instruction set, a GPU's adapter. */
  unit: engineWord,
  /** The precision of products: `float32`, `bf16`. */
  precision: engineWord,
});
/** What a worker computes on, for rules. Workers that differ in any of it may round differently. */
export type EngineId = z.infer<typeof engineId>;

export const computeLimit = z.object({
  /** Floating-point operations a second of one compute thread, measured on registers in the precision of the run. */
  threadFlops: z.number().positive(),
  /** Compute threads of the worker. */
  threads: count.min(1),
  /** Number of cores of its machine, which other workers may share. */
  cores: count.min(1),
});
/** What a worker could compute at best. */
export type ComputeLimit = z.infer<typeof computeLimit>;

export const stepTimings = z.object({
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

/** One piece of a state stream: part after part, each in the order of the tensor table. */
const stateStream = {
  /**
   * A checkpoint goes from a member to the coordinator. A transfer goes from a checkpoint to the first of the workers without a state; between two ranks, whose
   * chunks travel in the ring, only the acknowledgements are messages.
   */
  purpose: z.enum(['checkpoint', 'transfer']),
  term: count,
  step: count,
  offset: count,
};
export const stateChunk = z.object({ type: z.literal('stateChunk'), ...stateStream });
/** Received and stored up to this offset: the sender may continue. */
export const stateAck = z.object({ type: z.literal('stateAck'), ...stateStream });

export const stateClaim = z.object({
  /** Updates applied to the replica; 0 is the initial state. */
  step: count,
  /** The term in which that step was committed. */
  term: count,
  /** A step whose gradients are reduced on the replica, and whose commit has not come. */
  pending: z.object({ step: count, term: count }).optional(),
});
/** What a worker's replica holds. Step and term of the commit together name one state, to the bit. */
export type StateClaim = z.infer<typeof stateClaim>;
