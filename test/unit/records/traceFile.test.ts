import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Span } from '../../../src/comm/spans.ts';
import { type TracedStep, TraceFile } from '../../../src/records/traceFile.ts';

let folder = '';
const warnings: string[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-trace-'));
  warnings.length = 0;
});
afterEach(() => rm(folder, { recursive: true }));

const open = (options: { afterStep?: number; steps?: number; maxSteps?: number; path?: string } = {}) =>
  TraceFile.open({
    path: join(folder, 'trace.json'),
    afterStep: 0,
    steps: 3,
    maxSteps: 100,
    ...options,
    onWarning: (message) => warnings.push(message),
  });

const now = () => performance.timeOrigin + performance.now();

function traced(spans: readonly Span[], more: Partial<TracedStep> = {}): TracedStep {
  const member = { worker: 'local-0000', rank: 0, host: hostname(), pid: 7 };
  return { member, term: 1, step: 2, spans, dropped: 0, sentAtMs: now(), receivedAtMs: now(), ...more };
}

interface Event {
  readonly ph: string;
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur: number;
  readonly id: string;
  readonly args: { readonly name: string; readonly step: number };
}

const events = async () => JSON.parse(await readFile(join(folder, 'trace.json'), 'utf8')) as Event[];

describe('the trace file', () => {
  it('traces from the second step on, unless there are too few', async () => {
    const stepsOf = async (options: Parameters<typeof open>[0]) => {
      const file = await open(options);
      await file.close();
      return [file.firstStep, file.lastStep];
    };
    expect(await stepsOf({})).toEqual([2, 4]);
    expect(await stepsOf({ afterStep: 40 })).toEqual([42, 44]);
    expect(await stepsOf({ maxSteps: 3 })).toEqual([1, 3]);
    expect(await stepsOf({ maxSteps: 2 })).toEqual([1, 2]);
    expect(await stepsOf({ maxSteps: 4 })).toEqual([2, 4]);
  });

  it('is one complete JSON list: named processes and threads, spans in microseconds, buckets that overlap', async () => {
    const startMs = now();
    const file = await open();
    file.add(
      traced([
        { track: 'compute', name: 'linearForward', startMs: startMs + 10, ms: 1.5 },
        { track: 'buckets', name: 'bucket 0', startMs: startMs + 11, ms: 4 },
        { track: 'buckets', name: 'bucket 1', startMs: startMs + 12, ms: 4 },
      ]),
    );
    file.add(traced([], { member: { worker: 'host-1', rank: 1, host: hostname(), pid: 8 } }));
    file.add(traced([{ track: 'agent', name: 'wait for "data"', startMs, ms: 1 }], { step: 3 }));
    await file.close();
    const all = await events();
    expect(all.filter(({ name }) => name === 'process_name').map(({ pid, args }) => [pid, args.name])).toEqual([
      [0, 'coordinator'],
      [1, `rank 0: local-0000, pid 7 on ${hostname()}`],
      [2, `rank 1: host-1, pid 8 on ${hostname()}`],
    ]);
    const [kernel] = all.filter(({ name }) => name === 'linearForward');
    expect(kernel).toMatchObject({ ph: 'X', pid: 1, dur: 1_500, args: { step: 2 } });
    const [thread] = all.filter(({ ph, name, tid }) => ph === 'M' && name === 'thread_name' && tid === kernel?.tid);
    expect(thread?.args.name).toBe('kernels');
    const buckets = all.filter(({ ph }) => ph === 'b' || ph === 'e');
    expect(buckets.map(({ ph, name }) => `${ph} ${name}`)).toEqual([
      'b bucket 0',
      'e bucket 0',
      'b bucket 1',
      'e bucket 1',
    ]);
    expect(new Set(buckets.map(({ id }) => id)).size).toBe(2);
    expect(buckets[1]!.ts - buckets[0]!.ts).toBe(4_000);
    expect(buckets[0]!.ts - kernel!.ts).toBe(1_000);
    expect(all.some(({ name }) => name === 'wait for "data"')).toBe(true);
  });

  it('takes the least delay of a message from another machine for the difference of the clocks', async () => {
    const file = await open();
    const member = { worker: 'far', rank: 0, host: 'elsewhere', pid: 1 };
    // Its clock is an hour behind; messages take 5 and 1 ms.
    const hour = 3_600_000;
    const span = (name: string, startMs: number): Span[] => [{ track: 'agent', name, startMs, ms: 1 }];
    const at = now() + 100;
    file.add(traced(span('slow', at - hour), { member, sentAtMs: at - hour, receivedAtMs: at + 5 }));
    file.add(traced(span('fast', at - hour), { member, sentAtMs: at - hour, receivedAtMs: at + 1 }));
    file.add(traced(span('here', at)));
    await file.close();
    const [slow, fast, here] = (await events()).filter(({ ph }) => ph === 'X');
    expect(slow!.ts - here!.ts).toBeCloseTo(5_000, -2);
    expect(fast!.ts - here!.ts).toBeCloseTo(1_000, -2);
  });

  it('says what is left out, and warns once of a disk that refuses', async () => {
    const file = await open({ path: '/dev/full' });
    file.add(traced([], { dropped: 3 }));
    file.add(traced([{ track: 'agent', name: 'a', startMs: 0, ms: 1 }]));
    await file.close();
    expect(warnings.filter((line) => /lacks 3 spans of step 2 on rank 0/.test(line))).toHaveLength(1);
    expect(warnings.filter((line) => /cannot write \/dev\/full: .*The trace ends here/.test(line))).toHaveLength(1);
    await expect(open({ path: join(folder, 'absent', 'trace.json') })).rejects.toThrow(/cannot write .*absent/);
  });
});
