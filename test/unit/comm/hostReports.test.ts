/** The reports of several workers as one message. */
import { setImmediate as eventLoop } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Packr } from 'msgpackr';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { messageOf, PeerError } from '../../../src/base/errors.ts';
import {
  encodeReports,
  hostReports,
  type ReportMessage,
  ReportReader,
  reportGroup,
} from '../../../src/comm/hostReports.ts';
import { decodeWorkerMessage, encodeMessage } from '../../../src/comm/protocol.ts';

const sums = { weight: 3, loss: 1 / 3, correct: 2 };
const timings = { dataWaitMs: 0.1, forwardBackwardMs: 1 / 3, ringWaitMs: 0, commitWaitMs: 2, optimizerMs: 1e-9 };
const hash = 'a'.repeat(64);

const reduced = (at: number, gradNorm = 1 / 7) =>
  ({
    type: 'reduced',
    term: 2,
    step: 9,
    sampleFrom: 3 * at,
    sampleCount: 3,
    sums: { ...sums, loss: at / 3 },
    gradNorm,
  }) as const;
const applied = (at: number, parameterHash?: string) =>
  ({
    type: 'applied',
    term: 2,
    step: 9,
    timings: { ...timings, dataWaitMs: at / 7 },
    ringBytesSent: Number.MAX_SAFE_INTEGER - at,
    ...(parameterHash && { parameterHash }),
  }) as const;
const beat = (at: number) => ({ type: 'heartbeat', step: 9, phase: 'all-reduce', ringFrames: at }) as const;
const phase = { type: 'phase', step: 9, phase: 'all-reduce' } as const;

const decodeReports = (frame: Uint8Array, workers: number) => new ReportReader().read(frame, workers);

const groups: [string, ReportMessage[]][] = [
  ['reduced', [0, 1, 2].map((at) => reduced(at))],
  ['reduced, diverged', [reduced(0, Number.NaN), reduced(1, Number.POSITIVE_INFINITY)]],
  ['applied', [0, 1].map((at) => applied(at))],
  ['applied, with a hash', [0, 1].map((at) => applied(at, hash))],
  ['heartbeat', [0, 1, 2].map(beat)],
  ['phase', [phase, phase]],
];

describe('reports of several workers', () => {
  it.each(groups)('%s: are to the bit those that each had sent alone', (_, reports) => {
    expect(new Set(reports.map(reportGroup)).size).toBe(1);
    const alone = reports.map((report) => decodeWorkerMessage(encodeMessage(report)));
    const together = decodeReports(encodeReports(reports), reports.length);
    expect(together).toEqual(alone);
    expect(together.map((report) => Object.keys(report).filter((key) => key !== 'parameterHash'))).toEqual(
      alone.map((report) => Object.keys(report).filter((key) => key !== 'parameterHash')),
    );
  });

  it('are apart where anything differs that they would share', () => {
    const others: ReportMessage[] = [
      { ...reduced(0), term: 3 },
      { ...reduced(0), step: 8 },
      { ...reduced(0), sums: { weight: 1, loss: 1 } },
      applied(0),
      applied(0, hash),
      applied(0, 'b'.repeat(64)),
      { ...applied(0), step: 8 },
      beat(0),
      { ...beat(0), phase: 'optimizer' },
      phase,
      { ...phase, step: 8 },
    ];
    expect(new Set([reduced(0), ...others].map(reportGroup)).size).toBe(others.length + 1);
  });
});

describe('a reader of such messages', () => {
  const outcome = (reader: ReportReader, frame: Uint8Array, workers = 2) => {
    try {
      return reader.read(frame, workers);
    } catch (error) {
      return messageOf(error);
    }
  };

  it('reads what begins like a message before as if it were the first', () => {
    const reader = new ReportReader();
    const frames = groups.flatMap(([, reports]) => [
      encodeReports(reports.slice(0, 2)),
      encodeReports(reports.slice(0, 2).reverse()),
    ]);
    for (const frame of [...frames, ...frames]) expect(outcome(reader, frame)).toEqual(decodeReports(frame, 2));
    // What it remembers is not the frame, which others may write to.
    const reused = Uint8Array.from(frames[0]!);
    const another = new ReportReader();
    another.read(reused, 2);
    reused.fill(0);
    expect(outcome(another, frames[1]!)).toEqual(decodeReports(frames[1]!, 2));
    expect(outcome(another, reused)).toEqual(outcome(new ReportReader(), reused));
  });

  it('decodes what begins like a message before no second time', () => {
    const decoded = vi.spyOn(hostReports, 'safeParse');
    onTestFinished(() => decoded.mockRestore());
    const reader = new ReportReader();
    for (const at of [1, 2, 3]) reader.read(encodeReports([beat(at), beat(at)]), 2);
    expect(decoded).toHaveBeenCalledTimes(1);
    reader.read(encodeReports([beat(1)]), 1);
    expect(decoded).toHaveBeenCalledTimes(2);
  });

  it('keeps no frame that it has read', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const reader = new ReportReader();
    const readAt = (step: number) => {
      const frame = Uint8Array.from(encodeReports([1, 2].map((at) => ({ ...beat(at), step }))));
      reader.read(frame, 2);
      return new WeakRef(frame.buffer);
    };
    const buffers = Array.from({ length: 8 }, (_, step) => readAt(step));
    // A reference holds its target until the end of its turn of the event loop.
    await eventLoop();
    collect();
    // msgpackr holds the newest.
    expect(buffers.filter((buffer) => buffer.deref() !== undefined).length).toBeLessThan(2);
  });

  it('refuses what a new one refuses, for every byte that differs', () => {
    const reader = new ReportReader();
    for (const [, reports] of groups) {
      const frame = encodeReports(reports.slice(0, 2));
      reader.read(frame, 2);
      for (let at = 0; at < frame.length; at++) {
        const other = Uint8Array.from(frame);
        other[at]! ^= 1 << (at % 8);
        expect(outcome(reader, other)).toEqual(outcome(new ReportReader(), other));
      }
      for (const other of [frame.subarray(0, -8), Buffer.concat([frame, frame.subarray(-8)])]) {
        expect(outcome(reader, other)).toEqual(outcome(new ReportReader(), other));
      }
      expect(outcome(reader, frame, 3)).toEqual(outcome(new ReportReader(), frame, 3));
    }
  });
});

const packr = new Packr({ useRecords: false });
const rows = (...numbers: number[]) => new Uint8Array(Float64Array.from(numbers).buffer);
const ofReduced = { type: 'reduced', term: 1, step: 1, sums: ['weight', 'loss'] };
const ofApplied = { type: 'applied', term: 1, step: 1 };
const ofBeats = { type: 'heartbeat', step: 1, phase: 'optimizer' };

describe('a message of two workers', () => {
  it.each<[string, object]>([
    ['of a kind that comes alone', { type: 'leave', rows: rows() }],
    ['without rows', ofBeats],
    ['with rows of another type', { ...ofBeats, rows: [1, 2] }],
    ['with a row too few', { ...ofBeats, rows: rows(1) }],
    ['with a row too many', { ...ofBeats, rows: rows(1, 2, 3) }],
    ['with half a number', { ...ofBeats, rows: rows(1, 2).subarray(0, 12) }],
    ['with rows where there is nothing to say', { type: 'phase', step: 1, phase: 'optimizer', rows: rows(1) }],
    ['with an unknown phase', { ...ofBeats, phase: 'sleep', rows: rows(1, 2) }],
    ['with a term below 0', { ...ofApplied, term: -1, rows: rows(...Array(12).fill(1)) }],
    ['with a hash of another length', { ...ofApplied, parameterHash: 'x', rows: rows(...Array(12).fill(1)) }],
    ['without a weight', { ...ofReduced, sums: ['loss'], rows: rows(...Array(8).fill(1)) }],
    ['with a sum twice', { ...ofReduced, sums: ['weight', 'loss', 'loss'], rows: rows(...Array(12).fill(1)) }],
    [
      'with a sum whose name is not a word',
      { ...ofReduced, sums: ['weight', 'loss', '__proto__'], rows: rows(...Array(12).fill(1)) },
    ],
    [
      'with too many sums',
      { ...ofReduced, sums: ['weight', 'loss', ...Array.from({ length: 63 }, (_, i) => `s${i}`)], rows: rows() },
    ],
    ['with a count below 0', { ...ofBeats, rows: rows(1, -1) }],
    ['with half a frame', { ...ofBeats, rows: rows(1, 0.5) }],
    ['with a count that is not a number', { ...ofBeats, rows: rows(1, Number.NaN) }],
    ['with a count that is not exact', { ...ofBeats, rows: rows(1, 2 ** 53) }],
    ['with samples from below 0', { ...ofReduced, rows: rows(0, 1, 1, 1, 1, -1, 1, 1, 1, 1) }],
    ['with half a sample', { ...ofReduced, rows: rows(0, 1, 1, 1, 1, 1, 1.5, 1, 1, 1) }],
    ['with a weight below 0', { ...ofReduced, rows: rows(0, 1, 1, 1, 1, 1, 1, 1, -1, 1) }],
    ['with a weight that is not a number', { ...ofReduced, rows: rows(0, 1, 1, 1, 1, 1, 1, 1, Number.NaN, 1) }],
    ['with a time below 0', { ...ofApplied, rows: rows(...Array(11).fill(1).with(8, -1), 1) }],
    ['with an endless time', { ...ofApplied, rows: rows(...Array(11).fill(1).with(6, Number.POSITIVE_INFINITY), 1) }],
    ['with half a byte sent', { ...ofApplied, rows: rows(...Array(11).fill(1), 0.5) }],
  ])('%s is refused', (_, message) => {
    expect(() => decodeReports(packr.pack(message), 2)).toThrow(PeerError);
  });

  it('that does not end, or is too large, is refused', () => {
    const frame = encodeReports([beat(1), beat(2)]);
    for (const bytes of [frame.subarray(0, -1), new Uint8Array(0), new Uint8Array(5 << 20)]) {
      expect(() => decodeReports(bytes, 2)).toThrow(PeerError);
    }
    expect(() => decodeReports(frame, 3)).toThrow(/expected 1 numbers for each of 3 workers, received 16 bytes/);
  });

  it('may have sums of which only the weight has a bound', () => {
    const message = { ...ofReduced, rows: rows(0, 1, Number.NaN, 0, Number.NaN, 1, 1, -1, 1, -5) };
    expect(decodeReports(packr.pack(message), 2)).toMatchObject([
      { sums: { weight: 0, loss: Number.NaN }, gradNorm: Number.NaN },
      { sums: { weight: 1, loss: -5 }, gradNorm: -1 },
    ]);
  });
});
