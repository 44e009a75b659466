import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cellsOf, plainText } from '../../../../src/cli/live/text.ts';
import { viewLines } from '../../../../src/cli/live/viewLines.ts';
import {
  afterEvaluation,
  afterEvent,
  afterStep,
  initialView,
  noted,
  type ViewState,
} from '../../../../src/cli/live/viewState.ts';
import { initialState, type Member, type RunState } from '../../../../src/coordinator/core/runState.ts';
import type { LoggedEvent } from '../../../../src/records/eventsLog.ts';
import type { StepMetrics } from '../../../../src/records/metricsLog.ts';

const plan = {
  runId: 'r',
  worldSize: 2,
  minWorkers: 1,
  localWorkers: ['local-0000', 'local-0001'],
  restartsMax: 10,
  ...{
    open: false,
    startStep: 0,
    startsFromCheckpoint: false,
    maxSteps: 2000,
    schedule: { kind: 'constant' as const, learningRate: 1, minLearningRate: 0, warmupSteps: 0, decaySteps: 1 },
    gradClip: 1,
    precision: 'float32',
    globalBatchSize: 12,
    evalEverySteps: 0,
    evalSamples: 1,
    evalPartSamples: 1,
    stopAfter: 0,
    evaluations: [],
    checkpointEverySteps: 0,
    checkpointBest: false,
  },
  hashEverySteps: 0,
  tensors: [],
  heartbeatIntervalMs: 1,
  heartbeatTimeoutMs: 1,
  joinTimeoutMs: 1,
  stepTimeoutMs: 1,
  batchSplit: 'equal' as const,
};

function member(rank: number, changes: Partial<Member> = {}): Member {
  const worker = `local-${String(Math.max(rank, 0)).padStart(4, '0')}`;
  return {
    ...{ id: `${worker}.1`, worker, host: 'h', pid: 1, ringAddress: 'ring', rank, lastSeenMs: 0 },
    phase: 'forward and backward',
    step: 1,
    holds: undefined,
    leaving: false,
    speed: 0,
    ...changes,
  };
}

function run(changes: Partial<RunState> = {}): RunState {
  return { ...initialState(plan, 0), stage: 'stepping', starting: [], members: [member(0), member(1)], ...changes };
}

const timings = { dataWaitMs: 0, forwardBackwardMs: 800, ringWaitMs: 100, commitWaitMs: 60, optimizerMs: 40 };
function metrics(step: number, changes: Partial<StepMetrics> = {}): StepMetrics {
  const ranks = [0, 1].map((rank) => ({ rank, sampleFrom: 6 * rank, sampleCount: 6, ...timings }));
  return {
    step,
    loss: 4 - step / 1000,
    lr: 9.46e-4,
    gradNorm: 1.3,
    tokens: step * 768,
    tokensPerSecond: 25_513,
    term: 1,
    ranks,
    ...changes,
  };
}
const event = (changes: Partial<LoggedEvent>) =>
  ({ event: 'lost', worker: 'local-0001', reason: 'why', term: 1, step: 400, ...changes }) as LoggedEvent;

const start = initialView({ maxSteps: 2000, step: 0, stepTokens: 768 });
const trained = (steps: number) =>
  Array.from({ length: steps }, (_, i) => metrics(i + 1)).reduce<ViewState>(afterStep, start);
const show = (view: ViewState, state: RunState | undefined, columns = 80, rows = 24, nowMs = 0) =>
  viewLines(view, state, { columns, rows }, nowMs).map(plainText);

describe('the live view', () => {
  it('shows progress, loss, speed and a row for each worker', () => {
    const view = afterEvaluation(trained(400), { step: 400, valLoss: 3.5, valPerplexity: 33, valTargets: 1 });
    const lines = show(view, run());
    expect(lines[1]).toMatch(/^step 400\/2,000 {2}█+░+ {3}20 % {2}0:48 left$/);
    expect(lines[2]).toMatch(/^loss 3\.6000 {2}█[▁▂▃▄▅▆▇█]+▁ {2}validation 3\.5000 at step 400$/);
    expect(lines[3]).toBe('lr 9.46e-4  grad norm 1.30  25,513 tokens/s');
    expect(lines[4]).toBe('rank  worker      state            compute  update   ring   wait  sequences');
    expect(lines[5]).toMatch(/^ {3}0 {2}local-0000 {2}computing {11}80 % {5}4 % {3}10 % {4}6 % {10}6/);
    expect(lines[6]).toMatch(/^ {3}1 {2}local-0001 {2}computing/);
    expect(lines).toHaveLength(7);
  });

  it.each([80, 100, 120, 200])(
    'shows the full row of each worker in %i columns, and a bar where there is room',
    (columns) => {
      const members = ['local-0000', 'gpu-node-17.example-0003'].map((worker, rank) => member(rank, { worker }));
      const ranks = [0, 1].map((rank) => ({ rank, sampleFrom: 0, sampleCount: 1_024, ...timings }));
      const view = afterStep(start, metrics(1, { ranks }));
      const rows = show(view, run({ members }), columns).slice(5);
      for (const row of rows) expect(row).toMatch(/ {2}computing .* 80 % {5}4 % {3}10 % {4}6 % {6}1,024/);
      expect(rows.every((row) => /█+▓+▒+░*$/.test(row))).toBe(columns >= 100);
      expect(rows[1]).toContain(columns === 80 ? 'gpu-node-17.e…' : 'gpu-node-17.example-0003');
    },
  );

  it('says what each worker does in steps that are long enough to see it', () => {
    const members = [member(0, { phase: 'waiting for commit' }), member(1, { phase: 'all-reduce' })];
    const lines = show(trained(5), run({ members }));
    expect(lines[5]).toContain('waiting');
    expect(lines[6]).toContain('all-reduce');
    const quick = metrics(6, {
      term: 2,
      ranks: [0, 1].map((rank) => ({ rank, sampleFrom: 0, sampleCount: 6, ...timings, forwardBackwardMs: 8 })),
    });
    expect(show(afterStep(start, quick), run({ members }))[5]).toContain('computing');
  });

  it('shows who joins, is lost, and is started again', () => {
    const view = afterEvent(trained(400), event({}), 1_000);
    const gone = run({ members: [member(0)] });
    expect(show(view, gone, 80, 24, 2_000)[6]).toMatch(/^ {3}- {2}local-0001 {2}lost/);
    expect(show(view, { ...gone, starting: ['local-0001'] }, 80, 24, 2_000)[6]).toContain('restarting');
    expect(show(start, { ...gone, starting: ['local-0001'] })[6]).toContain('starting');
    const joiner = member(-1, { worker: 'local-0001', phase: 'receiving state' });
    expect(show(view, { ...gone, joiners: [joiner] }, 80, 24, 2_000)[6]).toContain('receiving state');
    expect(show(view, gone, 80, 24, 62_000)[6]).toBeUndefined();
    expect(show(afterEvent(view, event({ event: 'leave' }), 1), gone, 80, 24, 2_000)[6]).toContain('why');
    const waiting = event({ event: 'leave', action: 'waiting for 1 more worker' });
    expect(show(afterEvent(view, waiting, 1), gone, 80, 24, 2_000)[6]).toContain('why; waiting for 1 more worker');
  });

  it('shows the last events in words, with their age', () => {
    let view = noted(trained(400), 'rank 1\nwas killed by SIGKILL', true, 0);
    view = afterEvent(view, event({ event: 'restart', reason: 'worker local-0001 is started again' }), 60_000);
    const lines = show(view, run(), 80, 24, 63_000);
    expect(lines.slice(-2)).toEqual([
      '  1:03 ago  rank 1 was killed by SIGKILL',
      '  0:03 ago  worker local-0001 is started again',
    ]);
  });

  it.each([
    [{ stage: 'gathering', needed: 2, members: [] }, 'waiting for workers (0 of 2)'],
    [{ stage: 'forming' }, 'forming the ring'],
    [{ stage: 'evaluating' }, 'evaluating'],
    [{ stopRequested: true }, 'stopping after this step'],
    [{ stage: 'finishing' }, 'writing the last checkpoint'],
    [{ stage: 'finished', appliedStep: 90 }, 'stopped'],
    [{ stage: 'finished', appliedStep: 2000 }, 'finished'],
  ] as const)('says what the run is doing: %o', (changes, words) => {
    expect(show(trained(1), run(changes))[1]).toContain(words);
  });

  it('of more workers than fit, says how many there are', () => {
    const members = Array.from({ length: 100 }, (_, i) => member(i));
    const lines = show(trained(1), run({ members }));
    expect(lines).toContainEqual('and 88 more workers');
    expect(lines.length).toBeLessThan(24);
    expect(show(trained(1), run({ members }), 200, 120).at(-1)).toContain('local-0099');
  });

  it('is there before the coordinator and the first step are', () => {
    expect(show(start, undefined)).toEqual([
      '─'.repeat(79),
      expect.stringMatching(/^step 0\/2,000 .* 0 % {2}starting$/),
      'loss  after the first step',
      '',
    ]);
  });

  it('is never as wide as the terminal, and has fewer lines than it', () => {
    const texts = fc.string({ unit: 'grapheme', maxLength: 300 });
    const phases = fc.constantFrom('starting', 'all-reduce', 'receiving state', 'waiting for commit');
    const someMembers = fc.array(fc.tuple(texts, phases), { maxLength: 40 });
    const sizes = fc.record({ columns: fc.integer({ min: 1, max: 240 }), rows: fc.integer({ min: 1, max: 70 }) });
    const numbers = fc.double();
    fc.assert(
      fc.property(
        someMembers,
        fc.array(texts, { maxLength: 9 }),
        numbers,
        fc.nat(2000),
        sizes,
        (who, notes, x, step, size) => {
          const members = who.map(([worker, phase], rank) =>
            member(rank, { worker: `${rank}${worker.replaceAll(/\p{C}/gu, '')}`, phase }),
          );
          const line = metrics(step, { loss: x, lr: x, gradNorm: x, tokensPerSecond: x });
          const seen = [afterStep(trained(3), line), trained(3), start];
          for (const before of seen) {
            const view = notes.reduce<ViewState>((v, note) => noted(v, note, true, 0), before);
            const lines = viewLines(view, run({ members }), size, 5_000).map(plainText);
            expect(lines.length).toBeLessThan(size.rows);
            for (const text of lines) expect(cellsOf(text)).toBeLessThan(size.columns);
          }
        },
      ),
    );
  });
});
