/** The group `comm` of a config: messages between the processes, and how long they are waited for. */
import { z } from 'zod';
import { bytes, whole } from '../../base/keyTypes.ts';

export const comm = z
  .strictObject({
    bucketBytesMax: bytes({
      default: 4 * 2 ** 20,
      min: 4,
      max: 2 ** 30,
      doc: 'Gradients travel in buckets of at most this many bytes, each as soon as it is final.',
    }),
    chunkBytes: bytes({
      default: 512 * 2 ** 10,
      min: 4,
      max: 2 ** 24, // what a stranger can have a rank allocate (comm/zmqSocket.ts)
      doc: 'Bytes in one message of the ring.',
    }),
    heartbeatIntervalMs: whole({
      default: 1000,
      min: 10,
      max: 3_600_000,
      doc: 'Milliseconds between signs of life of a worker.',
    }),
    heartbeatTimeoutMs: whole({
      default: 10_000,
      min: 20,
      max: 36_000_000,
      doc: 'Milliseconds of silence after which a worker counts as dead.',
    }),
    stepTimeoutMs: whole({
      default: 600_000,
      min: 100,
      max: 360_000_000,
      doc: 'Milliseconds in which every worker must have finished a step; one that has not is left out.',
    }),
    joinTimeoutMs: whole({
      default: 60_000,
      min: 100,
      max: 36_000_000,
      doc: 'Milliseconds that a run waits for workers: those it starts with, or those it needs after a loss.',
    }),
    rejoinTimeoutMs: whole({
      default: 60_000,
      max: 36_000_000,
      doc: 'Milliseconds that a worker which has lost its coordinator keeps its state and tries to reach it, or the one that `launch --resume` starts.',
    }),
  })
  .meta({ description: 'Messages between the processes.' });
