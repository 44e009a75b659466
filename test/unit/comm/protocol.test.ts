import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { PeerError } from '../../../src/base/errors.ts';
import { decodeBatch, encodeBatch } from '../../../src/comm/batchPayload.ts';
import { decodeCoordinatorMessage, decodeWorkerMessage, encodeMessage } from '../../../src/comm/protocol.ts';

const reduced = {
  type: 'reduced',
  term: 1,
  step: 1,
  sampleFrom: 0,
  sampleCount: 1,
  lossSum: 1,
  targets: 1,
  gradNorm: 1,
};

describe('control messages', () => {
  it('come back as they were sent', () => {
    const commit = { type: 'commit', term: 1, step: 2, learningRate: 1e-3, hash: true, hold: false } as const;
    expect(decodeCoordinatorMessage(encodeMessage(commit))).toEqual(commit);
    const heartbeat = { type: 'heartbeat', step: 7, phase: 'all-reduce', ringFrames: 3 } as const;
    expect(decodeWorkerMessage(encodeMessage(heartbeat))).toEqual(heartbeat);
  });

  it('are refused in the wrong direction', () => {
    const commit = { type: 'commit', term: 1, step: 2, learningRate: 0, hash: false, hold: false } as const;
    expect(() => decodeWorkerMessage(encodeMessage(commit))).toThrow(/malformed control message/);
  });

  it.each<[string, unknown]>([
    ['a step that is no count', { type: 'heartbeat', step: -1, phase: 'all-reduce', ringFrames: 0 }],
    ['an unknown phase', { type: 'heartbeat', step: 1, phase: 'lunch', ringFrames: 0 }],
    ['a loss that is not finite', { ...reduced, lossSum: Number.NaN }],
    ['a hash of another length', { type: 'ready', term: 1, step: 0, stateHash: 'ab' }],
    ['nothing', null],
  ])('are refused with %s', (_, value) => {
    expect(() => decodeWorkerMessage(new Packr({ useRecords: false }).pack(value))).toThrow(PeerError);
  });

  it('never crash on any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(() => decodeWorkerMessage(bytes)).toThrow(PeerError);
        expect(() => decodeCoordinatorMessage(bytes)).toThrow(PeerError);
      }),
    );
  });

  it('are bounded', () => {
    expect(() => decodeWorkerMessage(new Uint8Array(5 << 20))).toThrow(/at most/);
  });
});

describe('batches', () => {
  const sizes = { sampleCount: 2, blockSize: 3, vocabSize: 10 };
  const batch = { tokens: Int32Array.of(0, 1, 2, 3, 4, 9), targets: Int32Array.of(1, 2, 3, 4, 9, -1) };

  it('come back as they were sent', () => {
    expect(decodeBatch(encodeBatch(batch), sizes)).toEqual(batch);
  });

  it('may be empty', () => {
    expect(decodeBatch(undefined, { ...sizes, sampleCount: 0 }).tokens).toHaveLength(0);
  });

  it.each([
    ['another size', encodeBatch({ tokens: batch.tokens, targets: batch.targets.subarray(1) }), /expected 48 bytes/],
    ['a token outside the vocabulary', encodeBatch({ ...batch, tokens: Int32Array.of(0, 1, 2, 3, 4, 10) }), /below 10/],
    ['a negative token', encodeBatch({ ...batch, tokens: Int32Array.of(0, 1, 2, 3, 4, -1) }), /below 10/],
    ['a target below -1', encodeBatch({ ...batch, targets: Int32Array.of(0, 1, 2, 3, 4, -2) }), /below 10/],
  ])('are refused with %s', (_, payload, message) => {
    expect(() => decodeBatch(payload, sizes)).toThrow(message);
  });
});
