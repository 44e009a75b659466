/** The samples of several workers as one message. */
import { Packr } from 'msgpackr';
import { expect, it } from 'vitest';
import { samplesOf } from '../../../src/base/batch.ts';
import { PeerError } from '../../../src/base/errors.ts';
import { WindowBatch } from '../../../src/base/windowBatch.ts';
import { decodeBatch, EncodedBatch } from '../../../src/comm/batchPayload.ts';
import { decodeShares, encodeShares } from '../../../src/comm/hostShares.ts';
import { decodeCoordinatorMessage, encodeMessage } from '../../../src/comm/protocol.ts';

const common = { term: 2, step: 3, globalWeight: 12.5, trace: false };
const windowed = (samples: number, T: number) => {
  const numbers = Uint16Array.from({ length: samples * (T + 1) }, (_, i) => (i * i) % 997);
  return new WindowBatch(['tokens', 'targets'], numbers, T, samples * T);
};

it.each([
  [4, [1, 1, 1]],
  [5, [3, 1, 2]],
])('gives each worker what it would be sent alone: windows of %d, shares of %j', (T, sampleCounts) => {
  const batch = windowed(8, T);
  const encoded = new EncodedBatch(batch);
  const samples = sampleCounts.reduce((sum, count) => sum + count);
  const { fields, payload } = encoded.rows(1, samples)!;
  const message = encodeShares({ ...common, sampleFrom: 1, sampleCounts, fields });
  let sampleFrom = 1;
  for (const [i, share] of decodeShares(message, payload, sampleCounts.length).entries()) {
    const sampleCount = sampleCounts[i]!;
    const alone = encoded.share(sampleFrom, sampleCount);
    const assign = { type: 'assign', ...common, sampleFrom, sampleCount, fields: alone.fields } as const;
    expect(decodeCoordinatorMessage(share.message)).toEqual(decodeCoordinatorMessage(encodeMessage(assign)));
    expect([...share.payload]).toEqual([...alone.payload]);
    expect(decodeBatch(assign, share.payload)).toEqual(samplesOf(batch, sampleFrom, sampleCount));
    sampleFrom += sampleCount;
  }
});

it('is not made of a batch whose arrays lie one after another', () => {
  const array = { shape: [2], data: Int32Array.of(1, 2, 3, 4) };
  const several = {
    sampleCount: 2,
    arrays: { tokens: array, weights: { ...array, data: Float32Array.of(1, 2, 3, 4) } },
  };
  expect(new EncodedBatch(several).rows(0, 2)).toBeUndefined();
  expect(new EncodedBatch({ sampleCount: 2, arrays: { tokens: array } }).rows(1, 1)?.payload).toHaveLength(8);
});

const { fields, payload } = new EncodedBatch(windowed(2, 3)).rows(0, 2)!;
const message = { type: 'shares', ...common, sampleFrom: 0, sampleCounts: [1, 1], fields };

it.each<[string, object, Uint8Array]>([
  ['for another number of workers', { ...message, sampleCounts: [1, 1, 1] }, payload],
  ['with a worker without samples', { ...message, sampleCounts: [2, 0] }, payload],
  ['with half a sample', { ...message, sampleCounts: [1, 0.5] }, payload],
  ['with a payload of another length', message, payload.subarray(1)],
  ['with another kind of message', { ...message, type: 'assign' }, payload],
  ['without arrays', { ...message, fields: [] }, payload],
])('is refused %s', (_, wrong, bytes) => {
  const frame = new Packr({ useRecords: false }).pack(wrong);
  expect(() => decodeShares(frame, bytes, 2)).toThrow(PeerError);
});
