import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ringHeaderBytes } from '../../../src/comm/link.ts';
import { decodeRingHeader, encodeRingHeader, floatsOf, type RingPhase } from '../../../src/comm/ringFrames.ts';

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const u16 = fc.integer({ min: 0, max: 2 ** 16 - 1 });
const header = fc.record({
  term: u32,
  step: u32,
  bucket: u32,
  chunk: u32,
  rank: u16,
  segment: u16,
  phase: fc.constantFrom<RingPhase>('reduceScatter', 'allGather'),
});

describe('ring header', () => {
  it('comes back as it was, wherever it is in memory, also from bytes that were used before', () => {
    fc.assert(
      fc.property(header, fc.nat(5), (value, at) => {
        const bytes = new Uint8Array(at + ringHeaderBytes).fill(0xff).subarray(at);
        expect(decodeRingHeader(encodeRingHeader(value, bytes))).toEqual(value);
      }),
    );
  });

  it('is refused at any other length, with another magic, phase, or reserved byte', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (noise) => {
        expect(decodeRingHeader(noise)).toBeUndefined();
      }),
    );
    const good = encodeRingHeader({ term: 1, step: 2, bucket: 3, chunk: 4, rank: 5, segment: 6, phase: 'allGather' });
    expect(decodeRingHeader(good)).toBeDefined();
    for (const at of [0, 1, 2, 3, 24, 25, 26, 27]) {
      const bad = good.slice();
      bad[at]! ^= 2;
      expect(decodeRingHeader(bad), `byte ${at}`).toBeUndefined();
    }
    expect(decodeRingHeader(new Uint8Array([...good, 0]))).toBeUndefined();
    expect(decodeRingHeader(good.subarray(0, 27))).toBeUndefined();
  });

  it('has its fields where the frame diagram says', () => {
    const bytes = encodeRingHeader({ term: 1, step: 2, bucket: 3, chunk: 4, rank: 5, segment: 6, phase: 'allGather' });
    expect(Buffer.from(bytes).toString('hex')).toBe(
      `4c535232${[1, 2, 3, 4].map((n) => `0${n}000000`).join('')}0500060001000000`,
    );
  });
});

describe('floatsOf', () => {
  it('reads payloads at any alignment', () => {
    const values = Float32Array.of(1.5, -2, 3e10);
    for (let at = 0; at < 8; at++) {
      const bytes = new Uint8Array(at + 12);
      bytes.set(new Uint8Array(values.buffer), at);
      expect(floatsOf(Buffer.from(bytes.buffer, at, 12))).toEqual(values);
    }
  });
});
