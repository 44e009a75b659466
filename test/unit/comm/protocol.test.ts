import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { type Batch, samplesOf } from '../../../src/base/batch.ts';
import { PeerError } from '../../../src/base/errors.ts';
import { WindowBatch } from '../../../src/base/windowBatch.ts';
import { decodeBatch, EncodedBatch, encodeBatch } from '../../../src/comm/batchPayload.ts';
import { decodeCoordinatorMessage, decodeWorkerMessage, encodeMessage } from '../../../src/comm/protocol.ts';

const reduced = {
  type: 'reduced' as const,
  term: 1,
  step: 1,
  sampleFrom: 0,
  sampleCount: 1,
  sums: { weight: 1, loss: 1 },
  gradNorm: 1,
};

describe('control messages', () => {
  it('come back as they were sent', () => {
    const commit = {
      type: 'commit',
      term: 1,
      step: 2,
      learningRate: 1e-3,
      gradNorm: 0.5,
      hash: true,
      hold: false,
    } as const;
    expect(decodeCoordinatorMessage(encodeMessage(commit))).toEqual(commit);
    const heartbeat = { type: 'heartbeat', step: 7, phase: 'all-reduce', ringFrames: 3 } as const;
    expect(decodeWorkerMessage(encodeMessage(heartbeat))).toEqual(heartbeat);
  });

  it('are refused in the wrong direction', () => {
    const commit = {
      type: 'commit',
      term: 1,
      step: 2,
      learningRate: 0,
      gradNorm: 0.5,
      hash: false,
      hold: false,
    } as const;
    expect(() => decodeWorkerMessage(encodeMessage(commit))).toThrow(/malformed control message/);
  });

  it.each<[string, unknown]>([
    ['a step that is not a count', { type: 'heartbeat', step: -1, phase: 'all-reduce', ringFrames: 0 }],
    ['an unknown phase', { type: 'heartbeat', step: 1, phase: 'lunch', ringFrames: 0 }],
    ['a loss that is not a number', { ...reduced, sums: { weight: 1, loss: 'much' } }],
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

describe('what a worker computes on', () => {
  const engineId = { engine: 'native', deviceKind: 'cpu', unit: 'avx2', precision: 'float32' };
  const tensors = [{ name: 'wte', shape: [2], parts: ['model', 'm', 'v'] as const }];
  const prepared = { type: 'prepared' as const, engine: 'native', engineId, tensors };

  it('is named by four words', () => {
    expect(decodeWorkerMessage(encodeMessage(prepared))).toEqual(prepared);
  });

  it.each(
    Object.keys(engineId).flatMap((part) => [
      [part, ''],
      [part, 'x'.repeat(129)],
    ]),
  )('is refused with a word that is empty or long for %s', (part, word) => {
    const frame = new Packr({ useRecords: false }).pack({ ...prepared, engineId: { ...engineId, [part!]: word } });
    expect(() => decodeWorkerMessage(frame)).toThrow(/malformed control message: engineId/);
  });
});

describe('sums', () => {
  it('are numbers with words for names, weight and loss among them, finite or not', () => {
    for (const sums of [
      { weight: 2, loss: 1.5, correct: 1 },
      { weight: 2, loss: Number.NaN, correct: Number.NEGATIVE_INFINITY },
    ]) {
      expect(decodeWorkerMessage(encodeMessage({ ...reduced, sums }))).toMatchObject({ sums });
    }
  });

  it.each<[string, object]>([
    ['no weight', { loss: 1 }],
    ['no loss', { weight: 1 }],
    ['a weight below 0', { weight: -1, loss: 1 }],
    ['a weight that is not a number', { weight: Number.NaN, loss: 1 }],
    ['one that is not a number', { weight: 1, loss: 1, correct: 'many' }],
    ['a name that is not a word', { weight: 1, loss: 1, 'a b': 1 }],
    ['too many', { weight: 1, loss: 1, ...Object.fromEntries(Array.from({ length: 63 }, (_, i) => [`sum${i}`, 1])) }],
  ])('are refused with %s', (_, sums) => {
    const frame = new Packr({ useRecords: false }).pack({ ...reduced, sums });
    expect(() => decodeWorkerMessage(frame)).toThrow(/malformed control message: sums/);
  });
});

describe('batches', () => {
  const batch: Batch = {
    sampleCount: 2,
    arrays: {
      tokens: { shape: [3], data: Int32Array.of(0, 1, 2, 3, 4, 9) },
      weights: { shape: [3, 2], data: Float32Array.from({ length: 12 }, (_, i) => i / 7) },
      label: { shape: [], data: Int32Array.of(-1, 1) },
    },
  };
  const { fields, payload } = encodeBatch(batch);
  const evaluate = { type: 'evaluate', term: 1, step: 1, part: 0, sampleCount: 2, fields } as const;

  it('come back as they were sent, whatever their arrays are', () => {
    const message = decodeCoordinatorMessage(encodeMessage(evaluate));
    expect(message).toEqual(evaluate);
    // Payloads come at any offset.
    const received = new Uint8Array(payload.length + 1).subarray(1);
    received.set(payload);
    expect(decodeBatch(evaluate, received)).toEqual(batch);
  });

  it('carry a slice of a bigger batch alone', () => {
    const slice = encodeBatch(samplesOf(batch, 1, 1));
    expect(slice.payload).toHaveLength(4 * (3 + 6 + 1));
    expect(decodeBatch({ sampleCount: 1, fields: slice.fields }, slice.payload)).toEqual(samplesOf(batch, 1, 1));
  });

  describe('of a text', () => {
    /** Targets are the tokens one position further. */
    const textOf = (sampleCount: number, T: number, number: (i: number) => number): Batch => {
      const numbers = Array.from({ length: sampleCount * (T + 1) }, (_, i) => number(i));
      const from = (shift: number) =>
        Int32Array.from({ length: sampleCount * T }, (_, i) => numbers[Math.floor(i / T) * (T + 1) + (i % T) + shift]!);
      const starts = { shape: [T], data: new Int32Array(sampleCount * T).fill(-1) };
      return {
        sampleCount,
        arrays: { tokens: { shape: [T], data: from(0) }, targets: { shape: [T], data: from(1) }, starts },
      };
    };
    const windowed = (sampleCount: number, T: number) => {
      const numbers = Uint16Array.from({ length: sampleCount * (T + 1) }, (_, i) => (i * i) % 999);
      return new WindowBatch(['tokens', 'targets'], numbers, T, sampleCount * T);
    };
    const extra = (batch: Batch) => 4 * batch.arrays['starts']!.data.length;

    it.each([
      ['of two bytes', 65_535, 2],
      ['of four bytes where a token needs them', 65_536, 4],
    ])('travel as windows %s', (_, token, bytes) => {
      for (const sampleCount of [1, 3, 8]) {
        const text = textOf(sampleCount, 1_024, (i) => (i * i + token) % (token + 1));
        const { fields: sent, payload: windows } = encodeBatch(text);
        expect(windows.length - extra(text)).toBe(Math.ceil((sampleCount * 1_025 * bytes) / 4) * 4);
        const message = { ...evaluate, sampleCount, fields: sent };
        expect(decodeCoordinatorMessage(encodeMessage(message))).toEqual(message);
        expect(decodeBatch(message, windows)).toEqual(text);
      }
    });

    it('is encoded once for all ranks, whichever arrays it has', () => {
      for (const whole of [batch, textOf(6, 5, (i) => i), windowed(6, 5), windowed(6, 4)]) {
        const encoded = new EncodedBatch(whole);
        for (let from = 0; from < whole.sampleCount; from++) {
          for (let count = 1; from + count <= whole.sampleCount; count++) {
            const share = encoded.share(from, count);
            expect(decodeBatch({ sampleCount: count, fields: share.fields }, share.payload)).toEqual(
              samplesOf(whole, from, count),
            );
          }
        }
      }
    });

    it('has the same bytes whether its arrays were made or not', () => {
      const text = windowed(3, 1_024);
      expect(encodeBatch(text)).toEqual(encodeBatch({ sampleCount: 3, arrays: text.arrays }));
      const wide = new WindowBatch(['tokens', 'targets'], Uint32Array.of(1, 70_000, 2), 2, 2);
      const { fields: sent, payload: bytes } = encodeBatch(wide);
      expect(sent[0]).toMatchObject({ name: 'tokens', window: 'uint32' });
      expect(decodeBatch({ sampleCount: 1, fields: sent }, bytes).arrays['targets']!.data).toEqual(
        Int32Array.of(70_000, 2),
      );
    });

    it('travel as they are if a target is masked, or is another token', () => {
      for (const [at, value] of [
        [2, -1],
        [4, 3],
      ] as const) {
        const text = textOf(2, 5, (i) => i);
        text.arrays['targets']!.data[at] = at === 4 ? -value : value + 7;
        const { fields: sent, payload: whole } = encodeBatch(text);
        expect(whole.length).toBe(4 * 3 * 10);
        expect(decodeBatch({ sampleCount: 2, fields: sent }, whole)).toEqual(text);
      }
    });

    it('are refused without two arrays of one length', () => {
      const { fields: sent, payload: windows } = encodeBatch(textOf(2, 5, (i) => i));
      const [tokens, targets, starts] = sent;
      const wrong = [
        [tokens!],
        [tokens!, { ...targets!, shape: [6] }],
        [tokens!, { ...targets!, dtype: 'float32' as const }],
        [tokens!, { ...targets!, window: 'uint16' as const }, starts!],
        [{ ...tokens!, shape: [5, 1] }, targets!],
      ];
      for (const given of wrong) {
        expect(() => decodeBatch({ sampleCount: 2, fields: given }, windows)).toThrow(/expected two int32 arrays/);
      }
      expect(() => decodeBatch({ sampleCount: 2, fields: sent }, windows.subarray(4))).toThrow(/expected 64 bytes/);
      const again = [tokens!, { ...targets!, name: 'tokens' }];
      expect(() => decodeBatch({ sampleCount: 2, fields: again }, windows.subarray(0, 24))).toThrow(/tokens twice/);
    });
  });

  it('may be empty', () => {
    const { arrays } = decodeBatch({ sampleCount: 0, fields }, undefined);
    expect(Object.values(arrays).map(({ data }) => data.length)).toEqual([0, 0, 0]);
  });

  it('are refused with another size, or with an array twice', () => {
    const shorter = payload.subarray(4);
    expect(() => decodeBatch(evaluate, shorter)).toThrow(/expected 80 bytes of tokens, weights, label.*received 76/);
    expect(() => decodeBatch({ ...evaluate, sampleCount: 3 }, payload)).toThrow(PeerError);
    const twice = { sampleCount: 2, fields: [fields[2]!, fields[2]!] };
    expect(() => decodeBatch(twice, new Uint8Array(16))).toThrow(/label twice/);
  });

  it.each<[string, object]>([
    ['no array', { fields: [] }],
    ['too many arrays', { fields: Array.from({ length: 17 }, (_, i) => ({ ...fields[0], name: `f${i}` })) }],
    ['an unknown type', { fields: [{ ...fields[0], dtype: 'float64' }] }],
    ['a name that is not a word', { fields: [{ ...fields[0], name: '__proto__' }] }],
    ['too many axes', { fields: [{ ...fields[0], shape: [1, 1, 1, 1, 1] }] }],
    ['an axis of no length', { fields: [{ ...fields[0], shape: [0] }] }],
  ])('are refused with %s', (_, change) => {
    const frame = new Packr({ useRecords: false }).pack({ ...evaluate, ...change });
    expect(() => decodeCoordinatorMessage(frame)).toThrow(/malformed control message: fields/);
  });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('are refused with a global weight of %d', (globalWeight) => {
    const share = { term: 1, step: 1, sampleFrom: 0, sampleCount: 2, fields, globalWeight, trace: false };
    const frame = new Packr({ useRecords: false }).pack({ type: 'assign', ...share });
    expect(() => decodeCoordinatorMessage(frame)).toThrow(/globalWeight/);
  });
});
