import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FlightRecorder } from '../../../src/base/flightRecorder.ts';
import { temporaryFolder } from '../checkpoint/tinyCheckpoint.ts';

interface Line {
  number: number;
  time: string;
  ms: number;
  what: string;
  details?: unknown;
}

const linesOf = (text: string): Line[] =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));

describe('a flight recorder', () => {
  it('tells what was recorded, oldest first, with both times', () => {
    let ms = 1_000;
    const recorder = new FlightRecorder({
      folder: 'unwritten',
      name: 'it',
      clock: { now: () => ms, monotonic: () => ms / 7 },
    });
    expect(recorder.dump()).toBe('');
    recorder.record('received', { type: 'commit', step: 3 });
    ms = 2_000;
    recorder.record('stopped');
    expect(linesOf(recorder.dump())).toEqual([
      {
        number: 1,
        time: '1970-01-01T00:00:01.000Z',
        ms: 142.857,
        what: 'received',
        details: { type: 'commit', step: 3 },
      },
      { number: 2, time: '1970-01-01T00:00:02.000Z', ms: 285.714, what: 'stopped' },
    ]);
  });

  it('keeps the last 1000', () => {
    const recorder = new FlightRecorder({ folder: 'unwritten', name: 'it' });
    for (let i = 1; i <= 2_345; i++) recorder.record(`event ${i}`);
    const lines = linesOf(recorder.dump());
    expect(lines).toHaveLength(1_000);
    expect(lines.map(({ number, what }) => [number, what])).toEqual(
      Array.from({ length: 1_000 }, (_, i) => [1_346 + i, `event ${1_346 + i}`]),
    );
  });

  it('cuts what is long, counts bytes, and survives values that are not JSON', () => {
    const recorder = new FlightRecorder({ folder: 'unwritten', name: 'it' });
    const circular: { self?: object } = {};
    circular.self = circular;
    recorder.record('long', { text: 'x'.repeat(1_000_000) });
    recorder.record('payload', { chunk: new Uint8Array(10_000), floats: new Float32Array(3), big: 7n });
    recorder.record('circular', circular);
    recorder.record('w'.repeat(100_000), circular);
    const lines = linesOf(recorder.dump());
    expect(lines.map(({ details }) => details)).toEqual([
      { cut: `{"text":"${'x'.repeat(247)}`, length: 1_000_011 },
      { chunk: '10000 bytes', floats: '12 bytes', big: '7' },
      { omitted: 'no JSON' },
      { omitted: 'no JSON' },
    ]);
    expect(lines[3]?.what).toBe('w'.repeat(256));
  });

  it('makes a bounded line of JSON of anything', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 3_000 }), fc.object(), (what, details) => {
        const recorder = new FlightRecorder({ folder: 'unwritten', name: 'it' });
        recorder.record(what, details);
        const text = recorder.dump();
        expect(linesOf(text)).toHaveLength(1);
        expect(text.length).toBeLessThan(4_096);
      }),
    );
  });

  it('writes a file for this user alone, and only says what went wrong', () => {
    const recorder = new FlightRecorder({ folder: join(temporaryFolder(), 'flight'), name: 'local-0000' });
    const { path } = recorder;
    expect(path).toMatch(/flight\/local-0000\.jsonl$/);
    recorder.record('one');
    expect(recorder.write()).toBeUndefined();
    expect(readFileSync(path, 'utf8')).toBe(recorder.dump());
    expect(statSync(path).mode & 0o777).toBe(0o600);
    chmodSync(path, 0o644);
    writeFileSync(path, 'old');
    expect(recorder.write()).toBeUndefined();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(new FlightRecorder({ folder: join(path, 'below'), name: 'it' }).write()).toMatch(
      /^cannot write .*it.*: a part of its path is not a folder \(ENOTDIR\)/,
    );
  });
});
