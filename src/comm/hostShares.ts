/**
 * The samples of a step for several workers of one host, whose ranks follow one another, as one message in an envelope (hostEnvelope.ts). It is what
 * `assign` says to each, with the number of samples of each worker. The payload has the samples of all, one after another; the agent of the host makes
 * the messages of its workers.
 */
import { Packr } from 'msgpackr';
import { z } from 'zod';
import { PeerError } from '../base/errors.ts';
import { alignedShare } from './batchPayload.ts';
import type { CoordinatorMessageOf } from './coordinatorMessages.ts';
import { batchFields, count } from './messageFields.ts';
import { decodeFrame, encodeMessage } from './protocol.ts';

export const hostShares = z.object({
  type: z.literal('shares'),
  term: count,
  step: count,
  /** The first sample of the first worker. */
  sampleFrom: count,
  /** Number of samples of each worker. */
  sampleCounts: z.array(count.min(1)).min(2),
  fields: batchFields,
  globalWeight: z.number().positive(),
  trace: z.boolean(),
});
/** What several workers are assigned. */
export type HostShares = z.infer<typeof hostShares>;

const packr = new Packr({ useRecords: false });

export function encodeShares(shares: Omit<HostShares, 'type'>): Uint8Array {
  return packr.pack({ type: 'shares', ...shares });
}

/**
 * The `assign` of each worker, and its payload.
 * @param workers their number
 * @throws PeerError if this is not a message for this number of workers
 */
export function decodeShares(
  frame: Uint8Array,
  payload: Uint8Array,
  workers: number,
): { readonly message: Uint8Array; readonly payload: Uint8Array }[] {
  const { sampleCounts, sampleFrom, term, step, fields, globalWeight, trace } = decodeFrame(hostShares, frame);
  const samples = sampleCounts.reduce((sum, samplesOfOne) => sum + samplesOfOne, 0);
  const sampleBytes = payload.byteLength / samples;
  if (sampleCounts.length !== workers || !Number.isInteger(sampleBytes)) {
    throw new PeerError(
      `expected samples of ${workers} workers, received ${payload.byteLength} bytes of ${samples} samples of ${sampleCounts.length}`,
    );
  }
  let at = 0;
  return sampleCounts.map((sampleCount) => {
    const assign: CoordinatorMessageOf<'assign'> = {
      type: 'assign',
      ...{ term, step, sampleFrom: sampleFrom + at, sampleCount, fields, globalWeight, trace },
    };
    const own = payload.subarray(at * sampleBytes, (at + sampleCount) * sampleBytes);
    at += sampleCount;
    return { message: encodeMessage(assign), payload: alignedShare(own) };
  });
}
