/** The group `comm` of a config: sizes and timeouts of the messages between processes. */
import { z } from 'zod';
import { bytes, whole } from '../../base/keyTypes.ts';

export const comm = z
  .strictObject({
    bucketBytesMax: bytes({
      default: 4 * 2 ** 20,
      min: 4,
      max: 2 ** 30,
      doc: 'Maximum size of a gradient bucket, in bytes. Each bucket is sent as soon as its gradients are final. Above 16 ranks it grows with their number.',
    }),
    chunkBytes: bytes({
      default: 512 * 2 ** 10,
      min: 4,
      max: 2 ** 24, // the most that an unknown sender can make a rank allocate (comm/zmqSocket.ts)
      doc: 'Size of one ring message, in bytes.',
    }),
    heartbeatIntervalMs: whole({
      default: 1000,
      min: 10,
      max: 3_600_000,
      doc: 'Time between the heartbeats of a worker, in milliseconds.',
    }),
    heartbeatTimeoutMs: whole({
      default: 10_000,
      min: 20,
      max: 36_000_000,
      doc: 'Time without a sign of life after which a worker counts as dead, in milliseconds.',
    }),
    stepTimeoutMs: whole({
      default: 600_000,
      min: 100,
      max: 360_000_000,
      doc: 'Time limit of a step, in milliseconds. A worker that exceeds it leaves the ring, and may return later.',
    }),
    joinTimeoutMs: whole({
      default: 60_000,
      min: 100,
      max: 36_000_000,
      doc: 'Time that a run waits for workers, at its start or after a loss, in milliseconds.',
    }),
    rejoinTimeoutMs: whole({
      default: 60_000,
      max: 36_000_000,
      doc: 'Time that a worker keeps its state after losing its coordinator, in milliseconds. It tries to reconnect to it, or to the one that `launch --resume` starts.',
    }),
  })
  .meta({ description: 'Messages between processes.' });
