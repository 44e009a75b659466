import { describe, expect, it } from 'vitest';
import type { StateTensor } from '../../../../src/base/stateParts.ts';
import type { EngineId, StateClaim } from '../../../../src/comm/messageFields.ts';
import { protocolVersion } from '../../../../src/comm/protocol.ts';
import type { WorkerMessage } from '../../../../src/comm/workerMessages.ts';
import { decide } from '../../../../src/coordinator/core/decide.ts';
import { adviceFor } from '../../../../src/coordinator/core/divergence.ts';
import type { Effect } from '../../../../src/coordinator/core/effects.ts';
import type { Report, RunEvent } from '../../../../src/coordinator/core/runEvents.ts';
import type { RunPlan } from '../../../../src/coordinator/core/runPlan.ts';
import { initialState, type Resumed } from '../../../../src/coordinator/core/runState.ts';

const tensors: StateTensor[] = [
  { name: 'w', shape: [2], parts: ['model', 'm', 'v'] },
  { name: 'e', shape: [3], parts: ['model'] },
];
const plan: RunPlan = {
  tensors,
  runId: 'r',
  worldSize: 2,
  minWorkers: 1,
  localWorkers: ['w0', 'w1'],
  restartsMax: 2,
  open: false,
  startStep: 0,
  startsFromCheckpoint: false,
  maxSteps: 4,
  schedule: { kind: 'constant', learningRate: 6, minLearningRate: 0, warmupSteps: 2, decaySteps: 4 },
  gradClip: 1,
  precision: 'float32',
  globalBatchSize: 5,
  evalEverySteps: 2,
  evalSamples: 8,
  evalPartSamples: 8,
  stopAfter: 0,
  evaluations: [],
  checkpointEverySteps: 2,
  checkpointBest: false,
  hashEverySteps: 1,
  heartbeatIntervalMs: 200,
  heartbeatTimeoutMs: 1_000,
  joinTimeoutMs: 5_000,
  stepTimeoutMs: 60_000,
  batchSplit: 'equal',
};
const hash = (digit: string) => digit.repeat(64);
const timings = { dataWaitMs: 0, forwardBackwardMs: 1, ringWaitMs: 1, commitWaitMs: 0, optimizerMs: 1 };
const quiet = { evalEverySteps: 0, checkpointEverySteps: 0 };

/** Drives the core like a rim would, with scripted workers: `w0` connects as `w0`, a second time as `w0b`, and so on. */
class Script {
  state;
  nowMs = 0;
  effects: readonly Effect[] = [];
  reason = '';
  engineOf: (id: string) => Partial<EngineId> = () => ({});
  tensorsOf: (id: string) => typeof tensors = () => tensors;

  constructor(changes: Partial<RunPlan> = {}, resumed?: Resumed) {
    this.state = initialState({ ...plan, ...changes }, 0, resumed);
  }

  event(event: RunEvent): this {
    ({ state: this.state, effects: this.effects, reason: this.reason } = decide(this.state, event, this.nowMs));
    return this;
  }

  from(id: string, message: WorkerMessage): this {
    return this.event({ kind: 'message', from: id, message });
  }

  join(id: string, state: StateClaim | undefined = { step: 0, term: 0 }, version = protocolVersion): this {
    const who = { version: '0', host: 'h', pid: 1, worker: id.slice(0, 2), ringAddress: `ring-${id}` };
    return this.from(id, { type: 'join', protocolVersion: version, ...who, ...(state && { state }) });
  }

  prepared(...ids: string[]): this {
    for (const id of ids) {
      const usual = { engine: 'native', deviceKind: 'cpu', unit: 'avx512', precision: 'float32' };
      const engineId = { ...usual, ...this.engineOf(id) };
      this.from(id, { type: 'prepared', engine: 'for people', engineId, tensors: this.tensorsOf(id) });
    }
    return this;
  }

  ready(id: string, stateHash = hash('a')): this {
    const { term, step } = this.state;
    return this.from(id, { type: 'ready', term, step, stateHash });
  }

  reduced(id: string, step: number, term = this.state.term, gradNorm = 1): this {
    const { rank } = this.state.members.find((member) => member.id === id) ?? { rank: 0 };
    const shares = [
      [[0, 5]],
      [
        [0, 3],
        [3, 2],
      ],
      [
        [0, 2],
        [2, 2],
        [4, 1],
      ],
    ][this.state.members.length - 1];
    const [sampleFrom = 0, sampleCount = 0] = shares?.[rank] ?? [];
    return this.from(id, {
      type: 'reduced',
      term,
      step,
      sampleFrom,
      sampleCount,
      sums: { weight: 3, loss: 6 },
      gradNorm,
    });
  }

  applied(id: string, step: number, parameterHash = hash('b')): this {
    const term = this.state.committedTerm;
    return this.from(id, { type: 'applied', term, step, timings, ringBytesSent: 8, parameterHash });
  }

  /** Who left, in words. */
  leaves(): string[] {
    return this.effects.flatMap((effect) =>
      effect.kind === 'event' && effect.event.event === 'leave' ? [effect.event.reason] : [],
    );
  }

  events(name: string) {
    return this.effects.flatMap((effect) =>
      effect.kind === 'event' && effect.event.event === name ? [effect.event] : [],
    );
  }

  /** With two instruction sets, which update alike. */
  mixed(): this {
    this.engineOf = (id) => ({ unit: id === 'w0' ? 'avx2' : 'avx512' });
    return this;
  }

  start(): this {
    return this.join('w0').join('w1').prepared('w0', 'w1').ready('w0').ready('w1');
  }

  get ids(): string[] {
    return this.state.members.map(({ id }) => id);
  }

  step(step: number): this {
    for (const id of this.ids) this.reduced(id, step);
    for (const id of this.ids) this.applied(id, step);
    return this;
  }

  evaluated(step: number): this {
    for (const id of this.ids) this.evaluatedPart(id, step, 0);
    return this;
  }

  evaluatedPart(id: string, step: number, part: number, loss = 4): this {
    const { term } = this.state;
    return this.from(id, { type: 'evaluated', term, step, part, sums: { weight: 4, loss } });
  }

  rolledOut(id: string, part: number, iteration = 1): this {
    const { term, step } = this.state;
    return this.from(id, { type: 'rolledOut', term, step, iteration, part, sampleCount: 1, fields: [] });
  }

  written(iteration: number, kl = 0): this {
    const { step, committedTerm } = this.state;
    return this.event({ kind: 'rolloutsWritten', iteration, step, committedTerm, sha256: hash('c'), kl });
  }

  /** Parts of rollouts and who gets them. */
  leased() {
    return this.effects.flatMap((effect) => (effect.kind === 'rollout' ? [[effect.to, effect.part]] : []));
  }

  snapshotTaken(step: number): this {
    return this.from('w0', { type: 'snapshotTaken', term: this.state.term, step, bytes: 24 });
  }

  exited(worker: string, description = 'was killed by SIGKILL'): this {
    return this.event({ kind: 'workerExited', worker, pid: 1, description, clean: false });
  }

  tick(nowMs: number): this {
    this.nowMs = nowMs;
    return this.event({ kind: 'tick' });
  }

  beat(id: string): this {
    return this.from(id, { type: 'heartbeat', step: 1, phase: 'forward and backward', ringFrames: 0 });
  }

  /** What is done, without what is only said. */
  kinds(): string[] {
    return this.effects
      .filter(({ kind }) => kind !== 'event')
      .map((effect) => (effect.kind === 'send' ? `${effect.message.type}→${effect.to}` : effect.kind));
  }

  forms() {
    return this.effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.type === 'form' ? [{ to: effect.to, ...effect.message }] : [],
    );
  }

  assigned() {
    return this.effects.flatMap((effect) =>
      effect.kind === 'assign' ? [[effect.to, effect.step, effect.sampleFrom, effect.sampleCount]] : [],
    );
  }
}

describe('the decision core: numbers that are not finite', () => {
  const failure = (script: Script) => script.effects.find((effect) => effect.kind === 'fail');

  it('commits no step whose gradient is not: the state before it is saved, then the run fails', () => {
    const script = new Script({ ...quiet, gradClip: 0 }).start().step(1);
    script.reduced('w0', 2, script.state.term, Number.NaN).reduced('w1', 2, script.state.term, Number.NaN);
    expect(script.kinds()).toEqual(['termOpened', 'form→w0', 'form→w1']);
    expect(script.forms().map(({ state, step }) => [state, step])).toEqual([
      ['keep', 1],
      ['keep', 1],
    ]);
    script.ready('w0').ready('w1');
    expect(script.kinds()).toEqual(['started', 'snapshot→w0']);
    script.snapshotTaken(1).event({ kind: 'checkpointWritten', step: 1 });
    expect(script.kinds()).toEqual(['stop→w0', 'stop→w1', 'fail']);
    expect(failure(script)).toEqual({
      kind: 'fail',
      blame: 'run',
      message:
        'the norm of the gradient of step 2 is NaN, expected a finite number: training has diverged. The state of step 1 is saved. ' +
        'Resume with a lower schedule.learningRate (it is 6), a longer schedule.warmupSteps (it is 2) or optimizer.gradClip=1 (it is 0, which ' +
        'clips nothing); if that fails again, remove this checkpoint and resume from an earlier checkpoint',
    });
  });

  it('ends a sweep of the learning rate without a failure', () => {
    const schedule = { ...plan.schedule, kind: 'sweep', minLearningRate: 1 } as const;
    const script = new Script({ ...quiet, schedule }).start().step(1);
    script.reduced('w0', 2, script.state.term, Number.NaN).reduced('w1', 2, script.state.term, Number.NaN);
    script.ready('w0').ready('w1').snapshotTaken(1).event({ kind: 'checkpointWritten', step: 1 });
    expect(script.kinds()).toEqual(expect.arrayContaining(['stop→w0', 'stop→w1']));
    expect(failure(script)).toBeUndefined();
    expect(script.state.stage).toBe('finished');
  });

  it('fails at once where no step was made', () => {
    const script = new Script(quiet).start();
    script.reduced('w0', 1, script.state.term, Number.POSITIVE_INFINITY).reduced('w1', 1);
    script.ready('w0').ready('w1');
    expect(script.kinds()).toEqual(['started', 'stop→w0', 'stop→w1', 'fail']);
    expect(failure(script)?.message).toMatch(
      /^the norm of the gradient of step 1 is Infinity, .* diverged\. Use a lower/,
    );
  });

  it('commits a step that float16 skips, also to a worker that comes back; not 25 in a row', () => {
    const script = new Script({ ...quiet, precision: 'f16', maxSteps: 100 }).start();
    const skip = (step: number) => {
      for (const id of ['w0', 'w1']) script.reduced(id, step, script.state.term, Number.NaN);
    };
    skip(1);
    expect(script.events('skipped')).toHaveLength(1);
    const commits = script.effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.type === 'commit' ? [effect.message.gradNorm] : [],
    );
    expect(commits).toEqual([Number.NaN, Number.NaN]);
    script.applied('w0', 1).applied('w1', 1).step(2);
    expect(script.state.skipsInARow).toBe(0);
    for (let step = 3; step < 27; step++) {
      skip(step);
      script.applied('w0', step).applied('w1', step);
    }
    expect(script.state).toMatchObject({ step: 26, skipsInARow: 24, givingUp: undefined });
    skip(27);
    expect(script.state.givingUp).toMatch(
      /^the norm of the gradient of step 27 is NaN, .* The state of step 26 is saved/,
    );
  });

  it('saves what it has when a validation is not', () => {
    const script = new Script({ ...quiet, evalEverySteps: 2 }).start().step(1).step(2);
    script.evaluatedPart('w0', 2, 0, Number.NaN).evaluatedPart('w1', 2, 0);
    expect(script.kinds()).toEqual(['snapshot→w0']);
    script.snapshotTaken(2).event({ kind: 'checkpointWritten', step: 2 });
    expect(failure(script)?.message).toMatch(
      /^the validation loss after step 2 is NaN, .* The state of step 2 is saved/,
    );
  });

  it.each([
    [{ gradClip: 1 }, 500, 'a lower schedule.learningRate (it is 6)'],
    [
      { gradClip: 5, precision: 'bf16' },
      500,
      'engine.precision=float32 (it is bf16), a lower schedule.learningRate (it is 6) or a smaller optimizer.gradClip (it is 5)',
    ],
  ])('advises what applies: %o at step %d', (changes, step, advice) => {
    expect(adviceFor({ ...plan, ...changes }, step)).toBe(advice);
  });
});

describe('the decision core: steps', () => {
  it('forms the ring when everyone has joined and is prepared, ranks in the order of names', () => {
    const script = new Script().join('w1');
    expect(script.kinds()).toEqual(['welcome']);
    script.join('w0').prepared('w1');
    expect(script.reason).toMatch(/1 of 2 workers are ready, waiting for w0/);
    script.prepared('w0');
    expect(script.state.stage).toBe('forming');
    const keep = { state: 'keep', send: false, verify: true, term: 1, worldSize: 2 };
    expect(script.forms()).toMatchObject([
      { to: 'w0', rank: 0, nextAddress: 'ring-w1', ...keep },
      { to: 'w1', rank: 1, nextAddress: 'ring-w0', ...keep },
    ]);
  });

  it('assigns every sample of two steps once, then starts', () => {
    const script = new Script().start();
    expect(script.kinds().slice(0, 3)).toEqual(['started', 'proceed→w0', 'proceed→w1']);
    expect(script.assigned()).toEqual([
      ['w0', 1, 0, 3],
      ['w1', 1, 3, 2],
      ['w0', 2, 0, 3],
      ['w1', 2, 3, 2],
    ]);
  });

  it('commits a step only when every member has reduced it, and keeps that before it says so', () => {
    const script = new Script().start().reduced('w0', 1);
    expect(script.effects).toEqual([]);
    expect(script.state.step).toBe(0);
    script.reduced('w1', 1);
    expect(script.kinds().slice(0, 3)).toEqual(['committed', 'commit→w0', 'commit→w1']);
    // One of two steps of warm-up before 6.
    expect(script.effects.slice(0, 3)).toMatchObject([
      { learningRate: 2 },
      { message: { learningRate: 2 } },
      { message: { learningRate: 2 } },
    ]);
    expect(script.state.step).toBe(1);
  });

  it('does not commit a step whose samples were not computed once each', () => {
    const script = new Script().start().reduced('w0', 1);
    const twice = { sampleFrom: 0, sampleCount: 3, sums: { weight: 3, loss: 6 }, gradNorm: 1 };
    script.from('w1', { type: 'reduced', term: 1, step: 1, ...twice });
    expect(script.effects.at(-1)).toMatchObject({
      kind: 'fail',
      message: expect.stringMatching(/not each computed exactly once/),
    });
  });

  it('ignores what belongs to another term or step', () => {
    const script = new Script().start().reduced('w0', 2);
    expect(script.reason).toMatch(/ignored reduced of step 2/);
    script.reduced('w0', 1, 0);
    expect(script.reason).toMatch(/ignored/);
    expect(script.state.members.every(({ reduced }) => reduced === undefined)).toBe(true);
  });

  it('reports the loss of the step, though a fast member has reduced the next one already', () => {
    const script = new Script().start().reduced('w0', 1).reduced('w1', 1).applied('w0', 1).reduced('w0', 2);
    script.applied('w1', 1);
    const ranks = [
      { rank: 0, timings },
      { rank: 1, timings },
    ];
    expect(script.effects[0]).toMatchObject({
      kind: 'stepDone',
      step: 1,
      sums: { weight: 6, loss: 12 },
      gradNorm: 1,
      ranks,
    });
    script.reduced('w1', 2);
    expect(script.state.step).toBe(2);
  });

  it('holds for evaluation, then a checkpoint, then proceeds, and never writes two checkpoints at once', () => {
    const script = new Script().start().step(1).reduced('w0', 2).reduced('w1', 2);
    expect(script.effects[1]).toMatchObject({ message: { type: 'commit', hold: true } });
    script.applied('w0', 2).applied('w1', 2);
    expect(script.kinds()).toEqual(['stepDone', 'evaluate', 'evaluate']);
    script.evaluated(2);
    expect(script.kinds()).toEqual(['evaluationDone', 'snapshot→w0']);
    expect(script.effects[0]).toMatchObject({ sums: { weight: 8, loss: 8 } });
    script.snapshotTaken(2);
    expect(script.kinds()).toEqual(['beginCheckpoint', 'proceed→w0', 'proceed→w1']);
    script.step(3).step(4).evaluated(4);
    expect(script.kinds()).toEqual(['evaluationDone']);
    script.event({ kind: 'checkpointWritten', step: 2 });
    expect(script.kinds()).toEqual(['snapshot→w0']);
    script.snapshotTaken(4);
    expect(script.state.stage).toBe('finishing');
    script.event({ kind: 'checkpointWritten', step: 4 });
    expect(script.kinds()).toEqual(['stop→w0', 'stop→w1', 'finish']);
  });

  it('evaluates part by part, each rank at its own pace, and adds up', () => {
    // 5 windows a rank, 2 at a time.
    const script = new Script({ evalSamples: 9, evalPartSamples: 2 }).start().step(1).step(2);
    expect(script.effects.slice(1)).toMatchObject([
      { kind: 'evaluate', to: 'w0', rank: 0, part: 0 },
      { kind: 'evaluate', to: 'w1', rank: 1, part: 0 },
    ]);
    script.evaluatedPart('w0', 2, 0, 1);
    expect(script.effects).toEqual([{ kind: 'evaluate', to: 'w0', term: 1, step: 2, rank: 0, part: 1 }]);
    script.evaluatedPart('w0', 2, 0, 100);
    expect(script.effects).toEqual([]);
    script.evaluatedPart('w0', 2, 1, 2).evaluatedPart('w0', 2, 2, 3);
    expect(script.effects).toEqual([]);
    script.evaluatedPart('w1', 2, 0, 4).evaluatedPart('w1', 2, 1, 5).evaluatedPart('w1', 2, 2, 6);
    expect(script.effects[0]).toEqual({ kind: 'evaluationDone', step: 2, sums: { weight: 24, loss: 21 } });
  });

  describe('a validation loss that has turned', () => {
    const many = { maxSteps: 20, evalEverySteps: 1, checkpointEverySteps: 0 };
    const evaluate = (script: Script, ...losses: number[]) => {
      for (const loss of losses) {
        const step = script.state.step + 1;
        script.step(step);
        for (const id of script.ids) script.evaluatedPart(id, step, 0, 4 * loss);
      }
      return script;
    };
    const said = (script: Script) =>
      script.effects.flatMap((effect) =>
        effect.kind === 'event' ? [`${effect.event.event}: ${effect.event.reason}`] : [],
      );

    it('is said once', () => {
      const script = evaluate(new Script(many).start(), 3, 2, 4, 4);
      expect(said(script)).toEqual([]);
      evaluate(script, 5);
      const turned =
        'the validation loss has not fallen in 3 evaluations: it was lowest, 2.0000, at step 2, and is 5.0000';
      expect(said(script)).toEqual([`warning: ${turned}; training continues`]);
      expect(said(evaluate(script, 5))).toEqual([]);
    });

    it('is not said to continue where the run ends', () => {
      const atTheEnd = evaluate(new Script({ ...many, maxSteps: 5 }).start(), 3, 2, 4, 4, 5);
      expect(said(atTheEnd)).toEqual([expect.stringMatching(/^warning: .* and is 5\.0000$/)]);
    });

    it('ends a run that asks for it, with a checkpoint; of its earlier part too', () => {
      const evaluations = [
        { step: 3, loss: 2 },
        { step: 4, loss: 3 },
      ];
      const resumed = { ...many, startStep: 4, startsFromCheckpoint: true, evaluations, stopAfter: 3 };
      const script = evaluate(new Script(resumed).start(), 2.5);
      expect(script.state.stopRequested).toBe(false);
      evaluate(script, 2.1);
      expect(said(script)).toEqual([
        expect.stringMatching(/^stopping: .* in 3 evaluations: .*\(eval.stopAfter is 3\)$/),
      ]);
      expect(script.kinds()).toContain('snapshot→w0');
    });

    it('is saved at its lowest where that is asked for', () => {
      const script = evaluate(new Script({ ...many, checkpointBest: true }).start(), 3);
      expect(script.kinds()).toContain('snapshot→w0');
      script.snapshotTaken(1).event({ kind: 'checkpointWritten', step: 1 });
      expect(evaluate(script, 4).kinds()).not.toContain('snapshot→w0');
      expect(evaluate(script, 2).kinds()).toContain('snapshot→w0');
    });

    it('is forgotten where the run goes back to before', () => {
      const script = evaluate(new Script(many).start(), 3, 2);
      script.exited('w0').exited('w1').join('w0b').join('w1b').prepared('w0b', 'w1b');
      expect(script.state).toMatchObject({ step: 0, evaluations: [] });
    });
  });

  it('begins the next evaluation with nothing of the one before', () => {
    const script = new Script({ evalSamples: 9, evalPartSamples: 3, checkpointEverySteps: 0 }).start().step(1).step(2);
    for (const part of [0, 1]) script.evaluatedPart('w0', 2, part, 9).evaluatedPart('w1', 2, part, 9);
    script.step(3).step(4);
    for (const part of [0, 1]) script.evaluatedPart('w0', 4, part, 1).evaluatedPart('w1', 4, part, 1);
    expect(script.effects[0]).toMatchObject({ kind: 'evaluationDone', sums: { weight: 16, loss: 4 } });
  });

  it('continues training when a checkpoint could not be written', () => {
    const script = new Script().start().step(1).step(2).evaluated(2).snapshotTaken(2);
    script.event({ kind: 'checkpointFailed', step: 2 });
    expect(script.state.stage).toBe('stepping');
    expect(script.step(3).kinds()).toEqual(['stepDone']);
  });

  it('sends the state to the first worker when the run resumes, and from it to the next', () => {
    const evaluations = [{ step: 2, loss: 4 }];
    const script = new Script({ startStep: 2, evaluations }).join('w0').join('w1').prepared('w0', 'w1');
    expect(script.kinds()).toEqual(['termOpened', 'form→w0', 'form→w1', 'transfer']);
    expect(script.effects.find(({ kind }) => kind === 'transfer')).toMatchObject({
      first: 'w0',
      passes: [{ from: 'w0', to: 'w1' }],
    });
    expect(script.forms()).toMatchObject([
      { to: 'w0', state: 'receive', send: true },
      { to: 'w1', state: 'follow', send: false },
    ]);
    script.ready('w0').ready('w1');
    expect(script.assigned().map(([, step]) => step)).toEqual([3, 3, 4, 4]);
  });

  it('counts a step once, whatever a member repeats', () => {
    const script = new Script().start().step(1);
    expect(script.applied('w0', 1).effects).toEqual([]);
    expect(script.reason).toMatch(/ignored applied of step 1/);
    expect(script.reduced('w0', 2).reduced('w0', 2).effects).toEqual([]);
    expect(script.state.step).toBe(1);
  });

  it('knows from the messages of a step what each member does', () => {
    const script = new Script(quiet).start();
    const doing = () => script.state.members.map(({ phase, step }) => `${phase} ${step}`);
    expect(doing()).toEqual(['forward and backward 1', 'forward and backward 1']);
    script.reduced('w0', 1);
    expect(doing()).toEqual(['waiting for commit 1', 'forward and backward 1']);
    script.reduced('w1', 1);
    expect(doing()).toEqual(['optimizer 1', 'optimizer 1']);
    script.applied('w1', 1);
    expect(doing()).toEqual(['optimizer 1', 'forward and backward 2']);
  });

  it('stops in order when asked: finishes the step, writes a checkpoint', () => {
    const script = new Script({ maxSteps: 100, ...quiet }).start();
    script.event({ kind: 'stopRequested' }).step(1);
    expect(script.kinds()).toEqual(['stepDone', 'snapshot→w0']);
    script.snapshotTaken(1).event({ kind: 'checkpointWritten', step: 1 });
    expect(script.effects.at(-1)).toEqual({ kind: 'finish', step: 1 });
    const reason = 'the run was asked to end before its last step';
    const early = { type: 'stop', reason, failed: false, interrupted: true };
    expect(script.effects).toContainEqual({ kind: 'send', to: 'w0', message: early });
    const stop = { type: 'stop', reason: 'the run is complete', failed: false };
    const late = new Script({ maxSteps: 1, ...quiet }).start().event({ kind: 'stopRequested' }).step(1);
    late.snapshotTaken(1).event({ kind: 'checkpointWritten', step: 1 });
    expect(late.effects).toContainEqual({ kind: 'send', to: 'w0', message: stop });
  });

  describe('asked to end, it saves before it evaluates', () => {
    const early: Partial<RunPlan> = { maxSteps: 100, evalPartSamples: 2, checkpointEverySteps: 0 };
    const stop = { kind: 'stopRequested' } as const;
    const written = (script: Script, step: number) => script.event({ kind: 'checkpointWritten', step });

    it('an evaluation that is due waits for the resumed run, which makes it first', () => {
      const script = new Script(early).start().step(1).event(stop).step(2);
      expect(script.kinds()).toEqual(['stepDone', 'snapshot→w0']);
      expect(written(script.snapshotTaken(2), 2).kinds()).toEqual(['stop→w0', 'stop→w1', 'finish']);
      const resumed = new Script({ ...early, startStep: 2, startsFromCheckpoint: true }).start();
      expect(resumed.kinds()).toEqual(['started', 'evaluate', 'evaluate']);
      for (const id of resumed.ids) resumed.evaluatedPart(id, 2, 0).evaluatedPart(id, 2, 1);
      // The checkpoint of an evaluated step has its loss.
      expect(resumed.kinds()).toEqual(['evaluationDone', 'snapshot→w0']);
      resumed.snapshotTaken(2);
      expect(resumed.assigned().map(([, step]) => step)).toEqual([3, 3, 4, 4]);
    });

    it('one that runs ends with the parts that are under way', () => {
      const script = new Script(early).start().step(1).step(2);
      script.evaluatedPart('w0', 2, 0).event(stop).evaluatedPart('w1', 2, 0);
      expect(script.effects).toEqual([]);
      script.evaluatedPart('w0', 2, 1);
      expect(script.kinds()).toEqual(['snapshot→w0']);
      expect(script.state.evaluations).toEqual([]);
      expect(written(script.snapshotTaken(2), 2).state.stage).toBe('finished');
    });

    it('after its last step it is evaluated when the state is saved, and saved again with the loss', () => {
      const script = new Script({ ...early, maxSteps: 2 }).start().step(1).step(2);
      script.evaluatedPart('w0', 2, 0).event(stop).evaluatedPart('w1', 2, 0).evaluatedPart('w0', 2, 1);
      expect(script.kinds()).toEqual(['snapshot→w0']);
      expect(script.snapshotTaken(2).kinds()).toEqual(['beginCheckpoint']);
      expect(written(script, 2).kinds()).toEqual(['evaluate', 'evaluate']);
      for (const id of script.ids) script.evaluatedPart(id, 2, 0).evaluatedPart(id, 2, 1);
      expect(script.kinds()).toEqual(['evaluationDone', 'snapshot→w0']);
      expect(written(script.snapshotTaken(2), 2).effects.at(-1)).toEqual({ kind: 'finish', step: 2 });
      const unfinished = script.effects.some((effect) => effect.kind === 'send' && 'unfinished' in effect.message);
      expect(unfinished).toBe(false);
    });

    it('a run that lost its workers after its last step is unfinished until it is evaluated', () => {
      const script = new Script({ ...early, maxSteps: 2, open: true }).start().step(1);
      script.event({ ...stop, isToContinue: true }).step(2);
      written(script.snapshotTaken(2), 2).join('w2');
      script.exited('w0').exited('w1');
      expect(script.state.stage).toBe('finished');
      const message = expect.objectContaining({ type: 'stop', unfinished: true });
      expect(script.effects).toContainEqual({ kind: 'send', to: 'w2', message });
    });

    it('a run that gives up is saved without an evaluation', () => {
      const script = new Script({ ...early, minWorkers: 2, restartsMax: 0 }).start().step(1);
      script.reduced('w0', 2).reduced('w1', 2).exited('w1').applied('w0', 2).ready('w0');
      expect(script.kinds()).toContain('snapshot→w0');
      expect(script.effects.some(({ kind }) => kind === 'evaluate')).toBe(false);
    });
  });

  it('a node of a job joins once, however many workers it has and however often they return', () => {
    const script = new Script({ ...quiet, worldSize: 4 });
    const join = (id: string, start: string, pid = 1) => {
      const who = { version: '0', host: 'h', pid, worker: id.slice(0, 2), ringAddress: `ring-${id}` };
      return script.from(id, { type: 'join', protocolVersion, ...who, node: { rank: 1, start } });
    };
    expect(join('w2', 'a').kinds()).toEqual(['welcome']);
    expect(join('w3', 'a').kinds()).toEqual(['welcome']);
    expect(join('w2b', 'a').kinds()).toContain('welcome');
    expect(join('w4', 'b', 9).effects).toMatchObject([
      {
        to: 'w4',
        message: { type: 'refused', reason: expect.stringMatching(/^node 1 of the job is in the run already/) },
      },
    ]);
    for (const id of ['w3', 'w2b']) script.event({ kind: 'peerGone', id, reason: 'its connection is closed' });
    expect(join('w5', 'b', 9).kinds()).toEqual(['welcome']);
  });

  it.each<[string, readonly boolean[], boolean]>([
    ['a scheduler', [true, true], true],
    ['a scheduler and then a person', [true, false], false],
    ['a person and then a scheduler', [false, true], false],
  ])(
    'tells the workers whether the run will be started again when %s asked for its end',
    (_, requests, isToContinue) => {
      const script = new Script({ maxSteps: 100, ...quiet }).start();
      for (const again of requests) script.event({ kind: 'stopRequested', ...(again && { isToContinue: again }) });
      script.step(1).snapshotTaken(1).event({ kind: 'checkpointWritten', step: 1 });
      const unfinished = script.effects.flatMap((effect) =>
        effect.kind === 'send' && effect.message.type === 'stop' ? [effect.message.unfinished === true] : [],
      );
      expect(new Set(unfinished)).toEqual(new Set([isToContinue]));
    },
  );

  it.each<[string, (script: Script) => Script]>([
    ['gathering', (s) => s.join('w0')],
    ['forming', (s) => s.join('w0').join('w1').prepared('w0', 'w1').ready('w0')],
    ['stepping', (s) => s.start().reduced('w0', 1)],
    ['evaluating', (s) => s.start().step(1).step(2)],
    ['snapshotting', (s) => s.start().step(1).step(2).evaluated(2)],
    ['finishing', (s) => s.start().step(1).step(2).evaluated(2).snapshotTaken(2)],
  ])('comes to its end when it is stopped while %s', (_, play) => {
    const script = play(new Script({ maxSteps: 2 })).event({ kind: 'stopRequested' });
    // What the members would send next, each at most once.
    for (let i = 0; i < 12 && script.state.stage !== 'finished'; i++) {
      const { stage, step, appliedStep } = script.state;
      if (stage === 'stepping' && appliedStep < step) script.applied('w0', step).applied('w1', step);
      else if (stage === 'stepping') script.reduced('w0', step + 1).reduced('w1', step + 1);
      else if (stage === 'evaluating') script.evaluated(step);
      else if (stage === 'snapshotting') script.snapshotTaken(step);
      else if (stage === 'finishing') script.event({ kind: 'checkpointWritten', step });
    }
    expect(script.state.stage).toBe('finished');
    expect(script.effects.at(-1)).toEqual({ kind: 'finish', step: script.state.appliedStep });
    expect(script.state.snapshotStep).toBe(script.state.appliedStep);
  });

  it.each<[string, (script: Script) => Script, RegExp]>([
    [
      'another start',
      (s) => s.mixed().join('w0').join('w1').prepared('w0', 'w1').ready('w0').ready('w1', hash('f')),
      /different parameters.*they compute on native avx512 \(cpu, float32\) and native avx2 \(cpu, float32\)/,
    ],
    [
      'diverged replicas',
      (s) => s.mixed().start().reduced('w0', 1).reduced('w1', 1).applied('w0', 1).applied('w1', 1, hash('f')),
      /replicas differ after step 1.*rank 0.*rank 1.*they compute on native avx2 \(.*\) and native avx512 \(/,
    ],
    [
      'an error of the user',
      (s) => s.start().from('w0', { type: 'failed', step: 1, phase: 'optimizer', message: 'NaN', blame: 'user' }),
      /rank 0 .* failed in step 1 during optimizer: NaN/,
    ],
    [
      'a worker that fails before the run begins',
      (s) =>
        s.join('w1').from('w1', { type: 'failed', step: 0, phase: 'building', message: 'no engine', blame: 'run' }),
      /worker w1 .* failed in step 0 during building: no engine/,
    ],
  ])('ends the run and stops everyone: %s', (_, play, message) => {
    const script = play(new Script());
    expect(script.state.stage).toBe('failed');
    expect(script.effects.at(-1)).toMatchObject({ kind: 'fail', message: expect.stringMatching(message) });
    const { members, joiners } = script.state;
    expect(script.kinds().filter((kind) => kind.startsWith('stop'))).toHaveLength(members.length + joiners.length);
  });

  it('is pure: the same state and event give the same decision and leave the state alone', () => {
    const before = new Script().start().state;
    const frozen = structuredClone(before);
    const event: RunEvent = { kind: 'workerExited', worker: 'w0', pid: 1, description: 'was killed', clean: false };
    expect(decide(before, event, 5)).toEqual(decide(before, event, 5));
    expect(before).toEqual(frozen);
  });
});

describe('the decision core: losses', () => {
  it('says what is done about it without what happened, which is said beside it', () => {
    const few = { ...quiet, checkpointEverySteps: 2, minWorkers: 2, restartsMax: 0 };
    const script = new Script(few).start().step(1).step(2).snapshotTaken(2).exited('w1');
    expect(script.events('lost')).toMatchObject([
      { action: '1 worker is left, and the run needs 2; a checkpoint is still being written' },
    ]);
  });

  it('continues with the others from the committed step, and starts another in its place', () => {
    const script = new Script().start().step(1).reduced('w0', 2).exited('w1');
    expect(script.kinds()).toEqual(['startWorker', 'termOpened', 'form→w0']);
    expect(script.forms()).toMatchObject([{ term: 2, rank: 0, worldSize: 1, step: 1, state: 'keep', verify: false }]);
    expect(script.effects.find(({ kind }) => kind === 'event')).toMatchObject({ event: { event: 'restart' } });
    expect(script.effects).toContainEqual({
      kind: 'event',
      show: true,
      event: expect.objectContaining({
        event: 'lost',
        rank: 1,
        reason: expect.stringMatching(/rank 1 .* was killed by SIGKILL in step 2 during forward and backward/),
        action: '1 worker continues from step 1 (term 2)',
      }),
    });
    // The loss has said what the new term says, which lists of events need not repeat.
    expect(script.events('term')).toMatchObject([{ isTold: true }]);
    // What was reduced for the lost term is void: the step is assigned anew.
    script.ready('w0');
    expect(script.assigned()).toEqual([
      ['w0', 2, 0, 5],
      ['w0', 3, 0, 5],
    ]);
    script.reduced('w0', 2);
    expect(script.state.step).toBe(2);
  });

  it('applies a committed step everywhere, though a member dies before it has', () => {
    const script = new Script(quiet).start().reduced('w0', 1).reduced('w1', 1).applied('w0', 1).exited('w1');
    expect(script.kinds()).toEqual(['startWorker', 'stepDone', 'termOpened', 'form→w0']);
    expect(script.forms()).toMatchObject([{ step: 1, committedTerm: 1, state: 'keep' }]);
    const late = new Script(quiet).start().reduced('w0', 1).reduced('w1', 1).exited('w1').applied('w0', 1);
    expect(late.kinds()).toEqual(['stepDone']);
    expect(late.state.stage).toBe('forming');
  });

  it('takes a newcomer in at the next boundary, with the state of a member', () => {
    const script = new Script(quiet).start().exited('w1').ready('w0').join('w1b').prepared('w1b');
    expect(script.kinds()).toEqual([]);
    script.reduced('w0', 1);
    expect(script.effects[1]).toMatchObject({ message: { type: 'commit', hold: true } });
    script.applied('w0', 1);
    expect(script.kinds()).toEqual(['stepDone', 'termOpened', 'form→w0', 'form→w1b', 'transfer']);
    expect(script.forms()).toMatchObject([
      { to: 'w0', state: 'keep', send: true, verify: true },
      { to: 'w1b', state: 'follow', send: false, verify: true, step: 1, committedTerm: 2 },
    ]);
    expect(script.effects.at(-2)).toMatchObject({ kind: 'transfer', passes: [{ from: 'w0', to: 'w1b' }] });
    script.ready('w0').ready('w1b');
    expect(script.kinds()).toContain('proceed→w1b');
  });

  it('finds another source when the one that sends the state dies', () => {
    const script = new Script({ ...quiet, worldSize: 3, localWorkers: ['w0', 'w1', 'w2'] });
    for (const id of ['w0', 'w1', 'w2']) script.join(id).prepared(id);
    for (const id of script.ids) script.ready(id);
    script.step(1).exited('w2').ready('w0').ready('w1').join('w2b').prepared('w2b').step(2);
    expect(script.effects.find(({ kind }) => kind === 'transfer')).toMatchObject({
      passes: [{ from: 'w1', to: 'w2b' }],
    });
    script.exited('w0');
    expect(script.ids).toEqual(['w1', 'w2b']);
    expect(script.forms()).toMatchObject([
      { to: 'w1', state: 'keep', send: true },
      { to: 'w2b', state: 'follow' },
    ]);
    expect(script.effects.find(({ kind }) => kind === 'transfer')).toMatchObject({
      passes: [{ from: 'w1', to: 'w2b' }],
    });
  });

  it('opens one term for all that are lost together, and tells of each', () => {
    const three = { ...quiet, open: true, worldSize: 3, localWorkers: ['w0', 'w1', 'w2'], restartsMax: 9 };
    const script = new Script(three).join('w0').join('w1').join('w2').prepared('w0', 'w1', 'w2');
    for (const id of script.ids) script.ready(id);
    const exit = { kind: 'workerExited', worker: 'w1', pid: 1, description: 'was killed', clean: false } as const;
    script.step(1).event({
      kind: 'losses',
      losses: [
        { kind: 'peerGone', id: 'w1', reason: 'closed' },
        { kind: 'peerGone', id: 'w2', reason: 'closed' },
        exit,
      ],
    });
    expect(script.kinds()).toEqual(['startWorker', 'termOpened', 'form→w0']);
    expect(script.events('lost').map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/^rank 1 .* was killed in step 2/),
      expect.stringMatching(/^rank 2 .* is gone \(closed\) in step 2/),
    ]);
    expect(script.reason).toMatch(/; 1 more is lost with it: 1 worker continues from step 1 \(term 2\)$/);
    // The one whose process has ended does not return.
    expect(script.state.missing.map(({ worker }) => worker)).toEqual(['w2']);
  });

  it('finds a silent member by its heartbeats, fences it, and ends its process', () => {
    const script = new Script().start();
    script.nowMs = 900;
    script.beat('w0').tick(1_100);
    expect(script.kinds()).toEqual(['fenced→w1', 'killWorker', 'termOpened', 'form→w0']);
    // Back from the dead: what it says has no effect but that it must join again.
    script.reduced('w1', 1, 1);
    expect(script.kinds()).toEqual(['fenced→w1']);
    expect(script.state.members).toHaveLength(1);
  });

  it.each([
    [200, []],
    [500, ['w0']],
  ])(
    'a silent member takes the others of its machine with it, unless they are silent between heartbeats of %d ms',
    (heartbeatIntervalMs, left) => {
      const script = new Script({ ...quiet, localWorkers: [], open: true, heartbeatIntervalMs }).start();
      script.nowMs = 450;
      script.beat('w0').tick(1_001);
      expect(script.state.members.map(({ worker }) => worker)).toEqual(left);
    },
  );

  it('waits below the fewest workers, and takes back who still has the state without sending it', () => {
    const script = new Script({ ...quiet, minWorkers: 2, open: true }).start().step(1);
    script.event({ kind: 'peerGone', id: 'w1', reason: 'its connection is closed' });
    expect(script.state.stage).toBe('gathering');
    expect(script.reason).toMatch(/1 of 2 workers are ready, waiting for w1/);
    script.join('w1b', { step: 1, term: 1 }).prepared('w1b');
    expect(script.forms()).toMatchObject([{ state: 'keep' }, { state: 'keep', to: 'w1b', verify: true }]);
    expect(script.kinds()).not.toContain('transfer');
  });

  it('gives the commit to a worker that comes back with the reduced gradient, and only to it', () => {
    const script = new Script({ ...quiet, minWorkers: 2, open: true }).start().step(1);
    script.reduced('w0', 2).reduced('w1', 2).applied('w0', 2);
    script.event({ kind: 'peerGone', id: 'w1', reason: 'its connection is closed' });
    script.join('w1b', { step: 1, term: 1, pending: { step: 2, term: 1 } }).prepared('w1b');
    expect(script.kinds().filter((kind) => kind.endsWith('w1b'))).toEqual(['commit→w1b', 'form→w1b']);
    // The second of the two steps of warm-up; the norm is that of rank 0.
    expect(script.effects).toContainEqual(
      expect.objectContaining({
        to: 'w1b',
        message: expect.objectContaining({ type: 'commit', learningRate: 4, gradNorm: 1 }),
      }),
    );
    expect(script.forms()[1]).toMatchObject({ to: 'w1b', state: 'keep', step: 2, committedTerm: 1 });
  });

  it('goes back to the newest checkpoint when no state is left, but waits for who may still have it', () => {
    const all = new Script({ ...quiet, open: true }).start().step(1).exited('w0').exited('w1');
    expect(all.state.stage).toBe('gathering');
    all.join('w0b').prepared('w0b');
    expect(all.kinds()).toEqual(['rewind', 'termOpened', 'form→w0b']);
    expect(all.forms()).toMatchObject([{ step: 0, state: 'initialise' }]);

    const cut = new Script({ ...quiet, open: true }).start().step(1);
    for (const id of ['w0', 'w1']) cut.event({ kind: 'peerGone', id, reason: 'cut off' });
    cut.join('w2').prepared('w2');
    expect(cut.reason).toMatch(/waiting for w0, w1, which had the state of step 1/);
    cut.join('w0b', { step: 1, term: 1 }).prepared('w0b');
    expect(cut.kinds()).not.toContain('rewind');
    expect(cut.forms()).toMatchObject([
      { to: 'w0b', state: 'keep', send: true },
      { to: 'w2', state: 'follow' },
    ]);
  });

  it('saves what the others hold when the user stops it while it waits for workers', () => {
    const script = new Script({ ...quiet, minWorkers: 2, open: true }).start().step(1);
    script.event({ kind: 'peerGone', id: 'w1', reason: 'its connection is closed' }).event({ kind: 'stopRequested' });
    expect(script.kinds()).toEqual(['termOpened', 'form→w0']);
    expect(script.ready('w0').kinds()).toEqual(['started', 'snapshot→w0']);
    script.snapshotTaken(1);
    expect(script.event({ kind: 'checkpointWritten', step: 1 }).kinds()).toEqual(['stop→w0', 'finish']);
    // What is saved already is not saved again.
    const saved = new Script({ minWorkers: 2, open: true }).start().step(1).step(2).evaluated(2).snapshotTaken(2);
    saved.event({ kind: 'checkpointWritten', step: 2 }).exited('w1').event({ kind: 'stopRequested' });
    expect(saved.kinds()).toEqual(['stop→w0', 'finish']);
  });

  it('saves what the others hold before it gives up, then fails with the reason', () => {
    const script = new Script({ ...quiet, minWorkers: 2, restartsMax: 0, open: true }).start().step(1).exited('w1');
    script.nowMs = 5_000;
    script.beat('w0').tick(5_001);
    expect(script.kinds()).toEqual(['termOpened', 'form→w0']);
    script.ready('w0').snapshotTaken(1).event({ kind: 'checkpointWritten', step: 1 });
    expect(script.kinds()).toEqual(['stop→w0', 'fail']);
    expect(script.effects.at(-1)).toMatchObject({
      message: expect.stringMatching(/rank 1 .* was killed by SIGKILL .*; 1 of 2 workers joined within 5\.0 s/),
    });
    // Nobody can come: at once.
    const closed = new Script({ ...quiet, minWorkers: 2, restartsMax: 0 }).start().step(1).exited('w1');
    expect(closed.kinds()).toEqual(['termOpened', 'form→w0']);
    closed.exited('w0');
    expect(closed.kinds()).toEqual(['warn', 'fail']);
  });

  it('saves the state before the last member leaves, at a boundary and without a ring', () => {
    const script = new Script({ ...quiet, open: true }).start().step(1).exited('w1').ready('w0');
    script.from('w0', { type: 'leave' });
    expect(script.kinds()).toEqual([]);
    expect(script.step(2).kinds()).toEqual(['stepDone', 'snapshot→w0']);
    expect(script.snapshotTaken(2).kinds()).toEqual(['beginCheckpoint']);
    expect(script.event({ kind: 'checkpointWritten', step: 2 }).kinds()).toEqual(['stop→w0']);
    expect(script.leaves()).toEqual([expect.stringMatching(/^rank 0 \(pid .*\) leaves as requested$/)]);
    // As after a loss, the event says that the run waits.
    const waiting1 = expect.stringMatching(/^0 of 1 workers are ready, waiting for /);
    expect(script.events('leave')).toEqual([expect.objectContaining({ action: waiting1 })]);

    const waiting = new Script({ ...quiet, minWorkers: 2, open: true }).start().step(1).exited('w1');
    expect(waiting.from('w0', { type: 'leave' }).kinds()).toEqual(['termOpened', 'form→w0']);
    expect(waiting.ready('w0').kinds()).toEqual(['started', 'snapshot→w0']);
    waiting.snapshotTaken(1).event({ kind: 'checkpointWritten', step: 1 });
    expect(waiting.kinds()).toEqual(['stop→w0']);
    const waiting2 = expect.stringMatching(/^0 of 2 workers are ready, waiting for /);
    expect(waiting.events('leave')).toEqual([expect.objectContaining({ action: waiting2 })]);

    // The member that stays has no state yet.
    const only = new Script({ ...quiet, open: true }).start().step(1).exited('w1').ready('w0');
    only.join('w2').from('w2', { type: 'leave' });
    expect(only.leaves()).toEqual([expect.stringMatching(/^worker w2 \(pid .*\) leaves as requested$/)]);
    expect(only.events('leave')[0]).not.toHaveProperty('action');
    only.join('w1b').prepared('w1b').step(2);
    expect(only.forms()).toMatchObject([{ send: true }, { state: 'follow' }]);
    only.from('w0', { type: 'leave' }).ready('w0').exited('w1');
    expect(only.forms()).toMatchObject([{ to: 'w0', state: 'keep' }]);
  });

  it('does not take a snapshot that is under way for a checkpoint', () => {
    const evalNever = { evalEverySteps: 0, maxSteps: 99, open: true };
    const leaver = new Script(evalNever).start().step(1).from('w0', { type: 'leave' }).step(2).snapshotTaken(2);
    expect(leaver.reason).toMatch(/leaves when its checkpoint is written/);
    leaver.exited('w1');
    expect(leaver.forms()).toMatchObject([{ to: 'w0', state: 'keep', step: 2 }]);
    leaver.ready('w0').event({ kind: 'checkpointWritten', step: 2 });
    expect(leaver.kinds()).toContain('stop→w0');

    const waiting = new Script({ ...evalNever, minWorkers: 2 }).start().step(1).step(2).snapshotTaken(2).exited('w1');
    waiting.from('w0', { type: 'leave' });
    expect(waiting.kinds()).toEqual(['termOpened', 'form→w0']);
    waiting.ready('w0').event({ kind: 'checkpointWritten', step: 2 });
    expect(waiting.kinds()).toEqual(['stop→w0']);
  });

  it('counts on a worker that has received the state, though the ring broke before it said so', () => {
    const script = new Script({ ...quiet, minWorkers: 2, open: true }).start().step(1);
    script.event({ kind: 'peerGone', id: 'w1', reason: 'its connection is closed' });
    script.join('w2').prepared('w2');
    expect(script.forms()).toMatchObject([{ state: 'keep' }, { state: 'follow', to: 'w2' }]);
    script.event({ kind: 'peerGone', id: 'w0', reason: 'its connection is closed' });
    expect(script.state.stage).toBe('gathering');
    script.ready('w2').join('w3').prepared('w3');
    expect(script.kinds()).not.toContain('rewind');
    expect(script.forms()).toMatchObject([
      { state: 'keep', to: 'w2' },
      { state: 'follow', to: 'w3' },
    ]);
  });

  it('keeps to the fewest workers when some leave and others come', () => {
    const script = new Script({ ...quiet, minWorkers: 2, open: true }).start().join('w2').prepared('w2');
    script.from('w0', { type: 'leave' }).from('w1', { type: 'leave' }).step(1).snapshotTaken(1);
    script.event({ kind: 'checkpointWritten', step: 1 });
    expect(script.state.stage).toBe('gathering');
    script.join('w3').prepared('w3');
    expect(script.ids).toEqual(['w2', 'w3']);
    expect(script.effects.find(({ kind }) => kind === 'transfer')).toMatchObject({
      first: 'w2',
      passes: [{ from: 'w2', to: 'w3' }],
    });
  });

  it('gathers for as many workers as it needs, not for those of its start', () => {
    const script = new Script({ ...quiet, worldSize: 2, minWorkers: 1, open: true }).start().step(1);
    for (const id of ['w0', 'w1']) script.event({ kind: 'peerGone', id, reason: 'cut off' });
    script.tick(1_001).join('w2').prepared('w2');
    expect(script.ids).toEqual(['w2']);
  });

  it('makes a step before it lets a worker in again that was late, and then only after a pause', () => {
    const script = new Script({ ...quiet, maxSteps: 99, heartbeatTimeoutMs: 1e6, open: true }).start();
    script.from('w0', { type: 'phase', step: 1, phase: 'all-reduce' }).tick(60_001);
    script.join('w1b').prepared('w1b').ready('w0').step(1).step(2);
    expect(script.ids).toEqual(['w0']);
    script.nowMs += 600_001;
    expect(script.step(3).ids).toEqual(['w0', 'w1b']);
    // Another that comes as a term begins waits for a step too.
    script.join('w2').prepared('w2').ready('w0').ready('w1b');
    expect(script.ids).toEqual(['w0', 'w1b']);
    expect(script.step(4).ids).toEqual(['w0', 'w1b', 'w2']);
  });

  it('forgets guests that do not come back', () => {
    const script = new Script({ ...quiet, open: true, globalBatchSize: 99 }).start().join('w2').join('w3');
    for (const id of ['w2', 'w3']) script.event({ kind: 'peerGone', id, reason: 'cut off' });
    expect(script.state.missing).toHaveLength(2);
    script.nowMs = 1_001;
    script.beat('w0').beat('w1').tick(1_001);
    expect(script.state).toMatchObject({ missing: [], restarts: 0 });
  });

  it('continues when a guest fails, or computes on another engine', () => {
    const failed = { type: 'failed', step: 0, phase: 'building', message: 'no addon', blame: 'user' } as const;
    const script = new Script({ ...quiet, open: true }).start().join('w2').from('w2', failed);
    expect(script.state).toMatchObject({ stage: 'stepping', joiners: [] });
    script.engineOf = (id) => (id === 'w2' ? { unit: 'avx2' } : { engine: 'tfjs', unit: 'wasm: simd' });
    script.join('w2').prepared('w2');
    expect(script.kinds()).toEqual([]);
    script.from('w2', { type: 'leave' }).join('w3').prepared('w3');
    expect(script.kinds()).toEqual(['refused→w3']);
    const reason = expect.stringMatching(
      /w3 .* computes on tfjs wasm: simd \(cpu, float32\), rank 0 \(.*\) on native avx512 .*, and each engine rounds .* set engine.name=native for the run/,
    );
    expect(script.effects).toContainEqual(expect.objectContaining({ event: expect.objectContaining({ reason }) }));
    expect(script.state).toMatchObject({ stage: 'stepping', joiners: [] });
  });

  it('lets a ring form only of what updates alike, whether hashes are compared or not', () => {
    for (const hashEverySteps of [0, 1]) {
      const script = new Script({ ...quiet, hashEverySteps, localWorkers: [], open: true });
      script.engineOf = (id) => (id === 'w0' ? {} : { engine: 'tfjs', unit: 'wasm' });
      script.join('w0').join('w1').prepared('w0', 'w1');
      expect(script.kinds()).toEqual(['refused→w1']);
      expect(script.mixed().join('w2').prepared('w2').ids).toEqual(['w0', 'w2']);
    }
  });

  it('keeps the workers of this machine in a run that has not begun, though a guest was first', () => {
    const script = new Script({ ...quiet, localWorkers: ['w0'], open: true });
    script.engineOf = (id) => (id === 'w0' ? {} : { unit: 'neon' });
    script.join('w1').join('w0').prepared('w1', 'w0');
    expect(script.kinds()).toEqual(['refused→w1']);
    expect(script.state.joiners.map(({ id, prepared }) => [id, prepared?.engineId.unit])).toEqual([['w0', 'avx512']]);
    // In a ring that works the place is the first one's.
    script.join('w2').engineOf = () => ({});
    script.prepared('w2').ready('w0').ready('w2').join('w3').engineOf = () => ({ unit: 'neon' });
    expect(script.prepared('w3').kinds()).toEqual(['refused→w3']);
  });

  it.each([
    [
      'freezes another',
      tensors.map((tensor) => ({ ...tensor, parts: tensors[0]!.parts })),
      "its e is [3] and trained (m, v), but the run's is [3] and frozen",
    ],
    ['lacks one', tensors.slice(0, 1), "its e is missing, but the run's is [3] and frozen"],
    [
      'has one more',
      [...tensors, { ...tensors[0]!, name: 'x' }],
      "its x is [2] and trained (m, v), but the run's is missing",
    ],
    [
      'has another shape',
      [{ ...tensors[0]!, shape: [1, 2] }, tensors[1]!],
      "its w is [1,2] and trained (m, v), but the run's is [2]",
    ],
    ['has one twice', [...tensors, tensors[0]!], 'two of its parameters have the same name'],
    ['has another order', tensors.toReversed(), "its parameter 0 is e, but the others' is w"],
  ])('refuses a worker whose model %s', (_, others, reason) => {
    const script = new Script({ ...quiet, localWorkers: [], open: true });
    script.tensorsOf = (id) => (id === 'w1' ? others : tensors);
    script.join('w0').join('w1').prepared('w0', 'w1');
    expect(script.kinds()).toEqual(['refused→w1']);
    expect(script.effects).toContainEqual(
      expect.objectContaining({ message: { type: 'refused', reason: expect.stringContaining(reason) } }),
    );
    expect(script.join('w2').prepared('w2').ids).toEqual(['w0', 'w2']);
  });

  it('keeps the workers of this machine, though a guest with another order was first', () => {
    const script = new Script({ ...quiet, localWorkers: ['w0', 'w2'], open: true });
    script.tensorsOf = (id) => (id === 'w1' ? tensors.toReversed() : tensors);
    script.join('w1').join('w0').join('w2').prepared('w1', 'w0');
    expect(script.kinds()).toEqual(['refused→w1']);
    expect(script.effects).toContainEqual(
      expect.objectContaining({
        message: { type: 'refused', reason: expect.stringContaining("its parameter 0 is e, but the others' is w") },
      }),
    );
    expect(script.prepared('w2').ids).toEqual(['w0', 'w2']);
  });

  it('refuses the workers of another run, whatever they claim to have', () => {
    const script = new Script({ ...quiet, open: true });
    const who = { protocolVersion, version: '0', host: 'h', pid: 1, worker: 'w7', ringAddress: 'ring' };
    script.from('w7', { type: 'join', ...who, runId: 'another', state: { step: 30, term: 8 } });
    expect(script.kinds()).toEqual(['refused→w7']);
    script.from('w7', { type: 'join', ...who, runId: 'r', state: { step: 0, term: 0 } });
    expect(script.kinds()).toEqual(['welcome']);
  });

  it('continues when a newcomer is refused for want of room', () => {
    const script = new Script({ ...quiet, open: true }).start();
    const failure = {
      step: 0,
      phase: 'starting',
      message: 'the coordinator refused this worker',
      blame: 'user',
    } as const;
    script.event({ kind: 'workerExited', worker: 'w1', pid: 7, description: 'failed', clean: false, failure });
    expect(script.kinds()).toEqual([]);
    expect(script.state.stage).toBe('stepping');
  });

  it('ends when nobody can come any more, with what happened last', () => {
    const script = new Script({ restartsMax: 0 }).start().exited('w0').exited('w1');
    expect(script.effects.at(-1)).toMatchObject({
      kind: 'fail',
      message: expect.stringMatching(/rank \d .* was killed by SIGKILL .*; 0 workers are left, and the run needs 1/),
    });
  });

  it('starts workers again with growing pauses, and not for ever', () => {
    const script = new Script({ restartsMax: 2 }).start();
    const pauses: number[] = [];
    for (let i = 0; i < 4; i++) {
      script.exited('w1');
      pauses.push(...script.effects.flatMap((effect) => (effect.kind === 'startWorker' ? [effect.afterMs] : [])));
      script.join(`w1${i}`);
    }
    expect(pauses).toEqual([250, 500]);
  });

  it('forms the same ring again when it broke and nobody is lost, in the end without the rank that is blamed', () => {
    const script = new Script({ ...quiet, heartbeatTimeoutMs: 1e6 }).start();
    const broken = () => {
      const { term, step } = script.state;
      return {
        type: 'ringBroken',
        term,
        step: step + 1,
        suspect: 1,
        ringFrames: 0,
        message: 'rank 1 is gone',
      } as const;
    };
    for (let fault = 1; fault <= 3; fault++) {
      expect(script.from('w0', broken()).kinds()).toEqual([]);
      script.tick(script.nowMs + 1_001);
      if (fault < 3) expect(script.ids).toEqual(['w0', 'w1']);
      script.ready('w0').ready('w1');
    }
    expect(script.ids).toEqual(['w0']);
  });

  it('blames the way to the rank that has come least far, and lets one end of it come back after a pause', () => {
    const local = { localWorkers: ['w0', 'w1'], worldSize: 3 };
    const script = new Script({ ...quiet, ...local, open: true, maxSteps: 99, heartbeatTimeoutMs: 10_000 });
    for (const id of ['w0', 'w1', 'w2']) script.join(id);
    script.prepared('w0', 'w1', 'w2');
    for (let fault = 1; fault <= 3; fault++) {
      for (const id of script.ids) script.ready(id);
      const { term } = script.state;
      // Nothing comes from rank 2 to rank 0; each rank blames the one before it.
      for (const [suspect, id, ringFrames] of [
        [0, 'w1', 3],
        [1, 'w2', 4],
        [2, 'w0', 1],
      ] as const) {
        script.from(id, { type: 'ringBroken', term, step: 1, suspect, ringFrames, message: 'sent nothing' });
      }
      script.tick(script.nowMs + 1_001);
    }
    expect(script.ids).toEqual(['w0', 'w1']);
    expect(script.kinds()).toContain('fenced→w2');
    expect(script.reason).toMatch(
      /rank 2 .* stays out of the ring for 30\.0 s, because the ring does not work with it/,
    );
    script.ready('w0').ready('w1').join('w2b').prepared('w2b').step(1);
    expect(script.ids).toEqual(['w0', 'w1']);
    script.nowMs += 30_001;
    expect(script.step(2).ids).toEqual(['w0', 'w1', 'w2b']);
  });

  it('says between which ranks, and at which addresses, there is no way: before whatever else is reported', () => {
    const script = new Script({ ...quiet, heartbeatTimeoutMs: 1e6 }).start();
    const report = { type: 'ringBroken', term: script.state.term, step: 1, ringFrames: 0 } as const;
    script.from('w0', { ...report, suspect: 1, message: 'sent nothing for 1500 ms' });
    const unreached = 'tcp://172.17.0.1:4001 (no answer), tcp://[fd07::1]:4001 (connection refused, or no route)';
    script.from('w1', { ...report, suspect: 0, message: 'cannot be reached', unreached });
    script.from('w0', { ...report, suspect: 1, message: 'sent nothing for 1500 ms' });
    script.tick(script.nowMs + 1_001);
    expect(script.reason).toContain(
      `rank 1 (pid 1 on h) cannot reach rank 0 (pid 1 on h) at ${unreached}: open all TCP`,
    );
    expect(script.kinds()).toEqual(['termOpened', 'form→w0', 'form→w1']);
    const warning = script.effects.find((effect) => effect.kind === 'event' && effect.event.event === 'warning');
    expect(warning).toMatchObject({ show: true, event: { reason: expect.stringContaining(unreached) } });
  });

  it('finds a ring in which nothing moves, though everybody lives', () => {
    const script = new Script(quiet).start();
    const beat = (id: string, phase: 'forward and backward' | 'all-reduce', ringFrames: number) =>
      script.from(id, { type: 'heartbeat', step: 1, phase, ringFrames });
    beat('w0', 'all-reduce', 5);
    beat('w1', 'forward and backward', 0);
    script.nowMs = 900;
    beat('w0', 'all-reduce', 5);
    beat('w1', 'all-reduce', 2);
    // Nobody is stuck while somebody computes or receives.
    expect(script.tick(1_800).kinds()).toEqual([]);
    script.nowMs = 1_850;
    beat('w0', 'all-reduce', 6);
    beat('w1', 'all-reduce', 2);
    expect(script.tick(2_800).kinds()).toEqual([]);
    beat('w0', 'all-reduce', 6);
    beat('w1', 'all-reduce', 2);
    script.tick(2_900);
    expect(script.reason).toMatch(
      /rank 1 .* has waited 2\.0 s for a frame of the ring in step 1, .*continue from step 0/,
    );
    expect(script.kinds()).toEqual(['termOpened', 'form→w0', 'form→w1']);
  });

  it('looks for the cause of a broken ring also when the time for the step is over meanwhile', () => {
    const script = new Script({ ...quiet, heartbeatTimeoutMs: 1e6 }).start();
    const { term } = script.state;
    script.tick(59_900);
    for (const [rank, from] of ['w0', 'w1'].entries()) {
      script.from(from, {
        type: 'ringBroken',
        term,
        step: 1,
        suspect: 1 - rank,
        ringFrames: 0,
        message: 'nothing came',
      });
      script.from(from, { type: 'phase', step: 1, phase: 'waiting for work' });
    }
    expect(script.tick(60_100).kinds()).toEqual([]);
    expect(script.tick(61_000).kinds()).toEqual(['termOpened', 'form→w0', 'form→w1']);
  });

  it('leaves out a member that does not finish its step, and names the time when nobody does', () => {
    const script = new Script({ ...quiet, heartbeatTimeoutMs: 1e6 }).start();
    script.from('w0', { type: 'phase', step: 1, phase: 'all-reduce' }).tick(60_001);
    expect(script.ids).toEqual(['w0']);
    const all = new Script({ ...quiet, heartbeatTimeoutMs: 1e6 }).start().tick(60_001);
    expect(all.effects.at(-1)).toMatchObject({
      message: expect.stringMatching(/no worker has finished step 1 .*raise comm/),
    });
  });

  it('lets a worker leave at the boundary, and the others continue', () => {
    const script = new Script(quiet).start().from('w1', { type: 'leave' });
    expect(script.kinds()).toEqual([]);
    script.step(1);
    expect(script.kinds()).toEqual(['stepDone', 'stop→w1', 'termOpened', 'form→w0']);
  });

  it('takes the checkpoint again when the member that sent it is lost', () => {
    const script = new Script({ evalEverySteps: 0, maxSteps: 9 }).start().step(1).step(2).snapshotTaken(2);
    script.exited('w0');
    expect(script.kinds()).toContain('abandonCheckpoint');
    script.ready('w1').event({ kind: 'checkpointFailed', step: 2 });
    expect(script.kinds()).toContain('snapshot→w1');
  });

  it('takes a worker that comes back through another connection for a new one', () => {
    const script = new Script(quiet).start().join('w1b');
    expect(script.state.members.map(({ id }) => id)).toEqual(['w0']);
    expect(script.state.joiners.map(({ id }) => id)).toEqual(['w1b']);
  });

  it('refuses a worker that was replaced while it was away, if only the one in its place has the state', () => {
    const join = { type: 'join', protocolVersion, version: '0', host: 'h', pid: 7, worker: 'w1' } as const;
    const script = new Script(quiet).start().step(1).step(2);
    const comer = { ...join, ringAddress: 'ring', state: { step: 1, term: 1 } };
    expect(script.from('w1b', comer).effects).toEqual([
      { kind: 'send', to: 'w1b', message: { type: 'refused', reason: expect.stringMatching(/has taken its place/) } },
    ]);
    expect(script.ids).toEqual(['w0', 'w1']);
    script.from('w1c', { ...comer, state: { step: 2, term: 1 } });
    expect(script.state.joiners.map(({ id }) => id)).toEqual(['w1c']);
  });

  it('gives up waiting for the workers of the start by the clock; fewer will do if they are enough', () => {
    const script = new Script({ heartbeatTimeoutMs: 1e6, minWorkers: 2 }).join('w0').prepared('w0').tick(5_001);
    expect(script.effects.at(-1)).toMatchObject({
      message: expect.stringMatching(/1 of 2 workers joined within 5.0 s/),
    });
    const enough = new Script({ heartbeatTimeoutMs: 1e6 }).join('w0').prepared('w0').tick(5_001);
    expect(enough.forms()).toMatchObject([{ to: 'w0', worldSize: 1 }]);
  });

  it('drops what it cannot understand, answers heartbeats, refuses other versions and who comes after the end', () => {
    const script = new Script().start().event({ kind: 'malformed', from: 'w1', problem: 'no msgpack' });
    expect(script.effects).toEqual([
      { kind: 'warn', message: expect.stringMatching(/ignored a message of w1: no msgpack/), ofStranger: true },
    ]);
    expect(script.state.stage).toBe('stepping');
    expect(script.beat('w1').effects).toEqual([{ kind: 'send', to: 'w1', message: { type: 'heartbeat' } }]);
    expect(new Script().join('w0', undefined, protocolVersion + 1).effects).toMatchObject([
      { message: { type: 'refused', reason: expect.stringMatching(/protocol version/) } },
    ]);
    const over = new Script().join('w0').event({ kind: 'stopRequested' });
    expect(over.effects.at(-1)).toEqual({ kind: 'finish', step: 0 });
    expect(over.join('w1').effects).toMatchObject([
      { to: 'w1', message: { reason: expect.stringMatching(/is over/) } },
    ]);
  });
});

describe('the decision core: a coordinator that takes over', () => {
  const committed = { step: 7, committedTerm: 2, gradNorm: 0.75, learningRate: 0.125, tokens: 7, samples: 7 };
  const resumed: Resumed = { term: 3, ...committed, workers: ['w0', 'w1'] };

  it('continues with the workers that kept their state, and without a checkpoint', () => {
    const script = new Script({ ...quiet, maxSteps: 20 }, resumed);
    script.join('w0', { step: 7, term: 2 }).join('w1', { step: 6, term: 2, pending: { step: 7, term: 2 } });
    script.prepared('w0', 'w1');
    expect(script.kinds()).toEqual(['termOpened', 'commit→w1', 'form→w0', 'form→w1']);
    // The norm and the rate of the coordinator that committed the step: the schedule of this one has 6 there.
    expect(script.effects[1]).toMatchObject({ message: { type: 'commit', gradNorm: 0.75, learningRate: 0.125 } });
    expect(script.forms()).toMatchObject([{ term: 4, step: 7, state: 'keep' }, { state: 'keep' }]);
    script.ready('w0').ready('w1');
    expect(script.assigned().map(([, step]) => step)).toEqual([8, 8, 9, 9]);
  });

  it('sends the state to workers that lack a commit that no journal has', () => {
    const script = new Script({ ...quiet, maxSteps: 20 }, { ...resumed, gradNorm: undefined, learningRate: undefined });
    script.join('w0', { step: 7, term: 2 }).join('w1', { step: 6, term: 2, pending: { step: 7, term: 2 } });
    script.prepared('w0', 'w1');
    expect(script.kinds()).toEqual(['termOpened', 'form→w0', 'form→w1', 'transfer']);
    expect(script.forms()).toMatchObject([{ state: 'keep', send: true }, { state: 'follow' }]);
  });

  it('takes a later step that a worker proves, if the journal had lost it', () => {
    const script = new Script({ ...quiet, maxSteps: 20 }, resumed).join('w0', { step: 8, term: 3 });
    expect(script.state).toMatchObject({ step: 8, committedTerm: 3 });
  });

  it('completes the epochs where a worker proves later steps, which had the former batch size', () => {
    const counted = { step: 7, samples: 28, formerBatchSize: 4, sampleLimit: 60, decaySteps: 0 };
    const plan = { ...quiet, globalBatchSize: 8, maxSteps: 11, counted };
    const script = new Script(plan, resumed).join('w0', { step: 10, term: 3 });
    // 40 samples were used, and 20 are left: 3 steps of 8.
    expect(script.state.plan).toMatchObject({ maxSteps: 13, schedule: { decaySteps: 13 } });
    expect(script.effects[0]).toEqual({ kind: 'lengthChanged', maxSteps: 13 });
  });

  it('starts one that is lost later and does not come back: it is not a child of its own', () => {
    const script = new Script({ ...quiet, maxSteps: 20 }, resumed);
    script.join('w0', { step: 7, term: 2 }).join('w1', { step: 7, term: 2 }).prepared('w0', 'w1');
    script.ready('w0').ready('w1').event({ kind: 'peerGone', id: 'w1', reason: 'its connection is closed' });
    expect(script.ids).toEqual(['w0']);
    script.ready('w0').nowMs = 900;
    expect(script.beat('w0').tick(1_000).kinds()).toEqual([]);
    expect(script.tick(1_001).effects).toContainEqual({ kind: 'startWorker', worker: 'w1', afterMs: 250 });
    expect(script.tick(1_100).kinds()).toEqual([]);
  });

  it('waits for the worker that holds the state before it stops, but not for ever', () => {
    const back = new Script({ ...quiet, maxSteps: 20 }, resumed).event({ kind: 'stopRequested' });
    expect(back.kinds()).toEqual([]);
    back.join('w0', { step: 7, term: 2 }).prepared('w0').ready('w0');
    expect(back.kinds()).toEqual(['started', 'snapshot→w0']);
    const gone = new Script({ ...quiet, maxSteps: 20 }, resumed).event({ kind: 'stopRequested' });
    expect(gone.tick(1_000).kinds()).toEqual([]);
    expect(gone.tick(1_001).effects).toEqual([
      { kind: 'warn', message: 'no worker has the state of step 7: the newest checkpoint is of step 0' },
      { kind: 'finish', step: 0 },
    ]);
  });

  it('has the length that its epochs have from the checkpoint, if no worker kept the later state', () => {
    const schedule = { ...plan.schedule, decaySteps: 6 };
    const changes = {
      maxSteps: 9,
      startStep: 4,
      startsFromCheckpoint: true,
      fromCheckpoint: { maxSteps: 6, schedule },
    };
    const kept = new Script({ ...quiet, ...changes }, resumed).join('w0', { step: 7, term: 2 }).prepared('w0');
    expect(kept.state.plan).toMatchObject({ maxSteps: 9, schedule: plan.schedule });

    const elsewhere = { ...changes, localWorkers: [], worldSize: 1 };
    const lost = new Script({ ...quiet, ...elsewhere }, resumed).join('w2').prepared('w2');
    lost.nowMs = 900;
    lost.beat('w2').tick(1_001);
    expect(lost.kinds()).toContain('rewind');
    expect(lost.effects).toContainEqual({ kind: 'lengthChanged', maxSteps: 6 });
    expect(lost.state).toMatchObject({ step: 4, plan: { maxSteps: 6, schedule } });
    lost.ready('w2');
    expect(lost.assigned().map(([, step]) => step)).toEqual([5, 6]);
  });

  it('waits longer for the first that has the state, where a name may lead them astray, and then as long as ever', () => {
    const changes = { ...quiet, maxSteps: 20, localWorkers: [], open: true, returnTimeoutMs: 4_000 };
    const late = new Script(changes, resumed).tick(3_900);
    expect(late.state.missing).toHaveLength(2);
    late.join('w0', { step: 7, term: 2 }).prepared('w0').tick(3_901);
    expect(late.state.missing).toEqual([]);
    expect(late.state.step).toBe(7);

    const lost = new Script({ ...changes, worldSize: 1 }, resumed).tick(3_900).join('w2').prepared('w2');
    expect(lost.tick(4_000).kinds()).not.toContain('rewind');
    expect(lost.tick(4_001).kinds()).toContain('rewind');
    // As many others are there instead: the former ones were replaced.
    const replaced = new Script(changes, resumed).tick(900).join('w2').prepared('w2').join('w3').prepared('w3');
    expect(replaced.kinds()).not.toContain('rewind');
    expect(replaced.tick(1_001).kinds()).toContain('rewind');
  });

  it('starts those that do not come back', () => {
    const script = new Script({ ...quiet, maxSteps: 20 }, resumed).join('w0', { step: 7, term: 2 }).prepared('w0');
    script.nowMs = 900;
    script.beat('w0').tick(1_001);
    expect(script.effects).toContainEqual({ kind: 'startWorker', worker: 'w1', afterMs: 0 });
  });
});

describe('the decision core: rollouts', () => {
  const policy = { ...quiet, rollouts: { stepsPerIteration: 2, parts: 3, klMax: 0.5 } };
  /** Every part is finished. */
  const rolledOut = (changes: Partial<RunPlan> = {}) =>
    new Script({ ...policy, ...changes }).start().rolledOut('w1', 1).rolledOut('w1', 2).rolledOut('w0', 0);

  it('leases a part to each member, has them judged, and begins with the iteration when its record is written', () => {
    const script = new Script(policy).start();
    expect(script.kinds()).toEqual(['started', 'beginRollouts', 'rollout', 'rollout']);
    expect(script.leased()).toEqual([
      ['w0', 0],
      ['w1', 1],
    ]);
    // The faster one gets the next part; another's part, or one that is finished, is not taken from it.
    expect(script.rolledOut('w1', 1).leased()).toEqual([['w1', 2]]);
    for (const [id, part] of [
      ['w1', 1],
      ['w1', 0],
      ['w0', 2],
    ] as const) {
      expect(script.rolledOut(id, part).effects).toEqual([]);
    }
    expect(script.rolledOut('w1', 2).kinds()).toEqual(['keepRollouts']);
    expect(script.rolledOut('w0', 0).kinds()).toEqual(['keepRollouts', 'judgeRollouts']);
    expect(script.assigned()).toEqual([]);
    expect(script.written(1).kinds().slice(0, 3)).toEqual(['rolloutsKnown', 'proceed→w0', 'proceed→w1']);
    expect(new Set(script.assigned().map(([, step]) => step))).toEqual(new Set([1, 2]));
    // The samples of step 3 do not exist yet.
    script.reduced('w0', 1).reduced('w1', 1);
    expect(script.assigned()).toEqual([]);
    script.applied('w0', 1).applied('w1', 1).step(2);
    expect(script.state.stage).toBe('rollingOut');
    expect(script.effects.find(({ kind }) => kind === 'beginRollouts')).toEqual({
      kind: 'beginRollouts',
      iteration: 2,
    });
  });

  it('leases the part of a lost worker again, and keeps the finished ones', () => {
    const script = new Script(policy).start().rolledOut('w1', 1);
    script.exited('w1').ready('w0');
    expect(script.kinds()).toEqual(['started', 'rollout']);
    expect(script.leased()).toEqual([['w0', 0]]);
    expect(script.rolledOut('w0', 0).leased()).toEqual([['w0', 2]]);
    expect(script.rolledOut('w0', 2).kinds()).toEqual(['keepRollouts', 'judgeRollouts']);
  });

  it('turns a worker away whose part nobody can use, and leases that part again at once', () => {
    const script = new Script(policy).start();
    const { term, step } = script.state;
    const lease = { term, step, iteration: 1, part: 1 };
    const problem = 'its part 1 of the rollouts: expected 4 rollouts, received 3';
    // A part that it no longer has says nothing about what it computes now.
    const stale = { ...lease, part: 2 };
    expect(script.event({ kind: 'unfit', from: 'w1', problem, lease: stale }).kinds()).toEqual([]);
    script.event({ kind: 'unfit', from: 'w1', problem, lease });
    expect(script.effects).toContainEqual({ kind: 'send', to: 'w1', message: { type: 'refused', reason: problem } });
    expect(script.events('lost')).toMatchObject([{ worker: 'w1', reason: expect.stringContaining(problem) }]);
    expect(script.ids).toEqual(['w0']);
    script.ready('w0');
    expect(script.leased()).toEqual([['w0', 0]]);
    expect(script.rolledOut('w0', 0).leased()).toEqual([['w0', 1]]);
  });

  it('continues with its members if a joiner cannot get the reference', () => {
    const script = new Script({ ...policy, open: true }).start().join('w2');
    script.event({ kind: 'unfit', from: 'w2', problem: 'EIO' });
    expect(script.effects).toContainEqual({ kind: 'send', to: 'w2', message: { type: 'refused', reason: 'EIO' } });
    expect(script.ids).toEqual(['w0', 'w1']);
    expect(script.state.joiners).toEqual([]);
    expect(script.event({ kind: 'unfit', from: 'w2', problem: 'EIO' }).effects).toEqual([]);
  });

  it('saves the state of waiting workers at once if the rollouts of the checkpoint are lost', () => {
    const resumed: Resumed = {
      ...{ term: 3, step: 7, committedTerm: 2, gradNorm: 0.75, learningRate: 0.125, tokens: 7, samples: 7 },
      ...{ workers: ['w0', 'w1'], rollouts: { iteration: 4, sha256: 'a'.repeat(64) } },
    };
    const takenOver = (startStep: number) => {
      const script = new Script({ ...policy, maxSteps: 20, startStep, startsFromCheckpoint: true }, resumed);
      script.join('w0', { step: 7, term: 2 }).join('w1', { step: 7, term: 2 }).prepared('w0', 'w1');
      return script.ready('w0').ready('w1').kinds();
    };
    expect(takenOver(5)).toContain('snapshot→w0');
    // Between two iterations the checkpoint needs none.
    expect(takenOver(4)).not.toContain('snapshot→w0');
  });

  it('takes in a worker when nobody has a part, and leases the rest in the new term', () => {
    const script = new Script({ ...policy, rollouts: { ...policy.rollouts, parts: 5 }, open: true }).start();
    script.join('w2').prepared('w2');
    expect(script.rolledOut('w0', 0).kinds()).toEqual(['keepRollouts']);
    expect(script.rolledOut('w1', 1).kinds()).toContain('termOpened');
    expect(script.ids).toEqual(['w0', 'w1', 'w2']);
    for (const id of script.ids) script.ready(id);
    expect(script.leased()).toEqual([
      ['w0', 2],
      ['w1', 3],
      ['w2', 4],
    ]);
  });

  it('ends in order during rollouts, when nobody has a part', () => {
    const script = new Script(policy).start().event({ kind: 'stopRequested' });
    expect(script.rolledOut('w1', 1).kinds()).toEqual(['keepRollouts']);
    expect(script.rolledOut('w0', 0).kinds()).toContain('finish');
  });

  it('loses a worker that holds up the others, and none that waits for the rewards', () => {
    const script = new Script(policy).start().rolledOut('w1', 1).rolledOut('w1', 2);
    script.state = { ...script.state, members: script.state.members.map((each) => ({ ...each, lastSeenMs: 60_100 })) };
    expect(script.tick(60_100).events('lost')).toMatchObject([{ worker: 'w0' }]);
    const judging = rolledOut();
    judging.state = {
      ...judging.state,
      members: judging.state.members.map((each) => ({ ...each, lastSeenMs: 60_100 })),
    };
    expect(judging.tick(60_100).effects).toEqual([]);
  });

  it('ignores the rollouts of a state that was lost', () => {
    const script = rolledOut();
    script.event({
      kind: 'rolloutsWritten',
      iteration: 1,
      step: 0,
      committedTerm: script.state.committedTerm + 1,
      sha256: hash('c'),
      kl: 0,
    });
    expect(script.effects).toEqual([]);
    expect(script.state.iterations).toEqual([]);
  });

  it('saves the state and fails where the policy is too far from its reference', () => {
    const script = rolledOut().written(1).step(1).step(2);
    script.rolledOut('w0', 0, 2).rolledOut('w1', 1, 2).rolledOut('w0', 2, 2).written(2, 0.6);
    expect(script.kinds()).toEqual(['rolloutsKnown', 'snapshot→w0']);
    script.snapshotTaken(2).event({ kind: 'checkpointWritten', step: 2 });
    expect(script.effects.at(-1)).toMatchObject({ kind: 'fail', blame: 'run' });
    expect(script.reason).toMatch(/is 0.600 in iteration 2, above task.klMax \(0.5\). The state of step 2 is saved/);
  });

  it('saves the state and fails where a completion cannot be rewarded', () => {
    const script = rolledOut();
    const { step, committedTerm } = script.state;
    const message = 'reward.mjs returned NaN';
    script.event({ kind: 'rolloutsFailed', iteration: 1, step, committedTerm, message, blame: 'user' });
    expect(script.effects.at(-1)).toMatchObject({ kind: 'fail', blame: 'user', message });
  });

  it('uses the rollouts that a killed coordinator recorded, and makes those that it did not', () => {
    const resumed = {
      term: 3,
      step: 2,
      committedTerm: 3,
      gradNorm: 1,
      learningRate: 1,
      tokens: undefined,
      samples: undefined,
      workers: ['w0', 'w1'],
    };
    const back = (rollouts?: { iteration: number; sha256: string }) =>
      new Script(policy, { ...resumed, rollouts })
        .join('w0', { step: 2, term: 3 })
        .join('w1', { step: 2, term: 3 })
        .prepared('w0', 'w1')
        .ready('w0')
        .ready('w1');
    expect(back({ iteration: 2, sha256: hash('c') }).assigned()).not.toEqual([]);
    expect(back({ iteration: 1, sha256: hash('c') }).kinds()).toContain('beginRollouts');
    expect(back().kinds()).toContain('beginRollouts');
  });

  it('refuses a worker that compares the policy with another model', () => {
    const script = new Script(policy).join('w0').join('w1');
    const engineId = { engine: 'native', deviceKind: 'cpu', unit: 'avx512', precision: 'float32' };
    for (const [id, digit] of [
      ['w0', 'a'],
      ['w1', 'b'],
    ] as const) {
      script.from(id, { type: 'prepared', engine: '', engineId, tensors, referenceHash: hash(digit) });
    }
    expect(JSON.stringify(script.effects)).toContain('it compares the policy with another model than');
  });
});

describe('reports that come together', () => {
  const apart = ['w0', 'w1', 'w2'];
  /** Three workers at the first step, of which `early` have reported before. */
  const started = (changes: Partial<RunPlan> = {}) => {
    const script = new Script({ worldSize: 3, localWorkers: apart, ...quiet, ...changes });
    for (const id of apart) script.join(id);
    script.prepared(...apart);
    for (const id of apart) script.ready(id);
    return script;
  };
  const reduced = (id: string, step: number, term = 1): Report => {
    const [sampleFrom, sampleCount] = [
      [0, 2],
      [2, 2],
      [4, 1],
    ][apart.indexOf(id)] ?? [0, 1];
    const sums = { weight: sampleCount!, loss: 0.1 * sampleFrom! + 0.3 };
    const place = { sampleFrom: sampleFrom!, sampleCount: sampleCount! };
    return { from: id, message: { type: 'reduced', term, step, ...place, sums, gradNorm: 1 / 3 } };
  };
  const applied = (id: string, step: number): Report => {
    return {
      from: id,
      message: { type: 'applied', term: 1, step, timings, ringBytesSent: 8, parameterHash: hash('b') },
    };
  };
  const beat = (id: string, step: number): Report => {
    return { from: id, message: { type: 'heartbeat', step, phase: 'all-reduce', ringFrames: step } };
  };
  const phase = (id: string, step: number): Report => {
    return { from: id, message: { type: 'phase', step, phase: 'all-reduce' } };
  };

  it.each<[string, readonly (readonly Report[])[]]>([
    ['a step of all', [apart.map((id) => reduced(id, 1)), apart.map((id) => applied(id, 1))]],
    [
      'a step in another order',
      [['w2', 'w0', 'w1'].map((id) => reduced(id, 1)), ['w1', 'w2', 'w0'].map((id) => applied(id, 1))],
    ],
    [
      'a step of two, then one',
      [
        ['w1', 'w2'].map((id) => reduced(id, 1)),
        [reduced('w0', 1)],
        ['w0', 'w2'].map((id) => applied(id, 1)),
        [applied('w1', 1)],
      ],
    ],
    [
      'signs of life',
      [apart.map((id) => beat(id, 1)), apart.map((id) => phase(id, 1)), apart.map((id) => beat(id, 2))],
    ],
    [
      'a stranger among them',
      [['w0', 'x', 'w2'].map((id) => reduced(id, 1)), ['y', 'w1'].map((id) => beat(id, 1)), [reduced('w1', 1)]],
    ],
    ['a report of another step', [apart.map((id) => reduced(id, 2)), apart.map((id) => applied(id, 1))]],
    ['a report of another term', [apart.map((id) => reduced(id, 1, 2)), apart.map((id) => reduced(id, 1, 0))]],
    [
      'the same again',
      [
        apart.slice(1).map((id) => reduced(id, 1)),
        apart.slice(1).map((id) => reduced(id, 1)),
        [reduced('w0', 1)],
        [applied('w0', 1), applied('w1', 1)],
        [applied('w0', 1), applied('w1', 1)],
        [applied('w2', 1)],
      ],
    ],
  ])('decide what they decide one after the other: %s', (_, groups) => {
    const [one, other] = [started(), started()];
    for (const reports of groups) {
      one.nowMs += 7;
      other.nowMs += 7;
      const effects: Effect[] = [];
      for (const { from, message } of reports) effects.push(...one.from(from, message).effects);
      other.event({ kind: 'reports', reports });
      expect(JSON.parse(JSON.stringify(other.effects))).toEqual(JSON.parse(JSON.stringify(effects)));
      const plain = ({ state }: Script) => ({ ...state, members: [...state.members], joiners: [...state.joiners] });
      // Where the search for a member begins decides nothing.
      expect({ ...plain(other), awaited: 0 }).toEqual({ ...plain(one), awaited: 0 });
    }
  });

  it('commit once, with the sums in the order of the ranks', () => {
    const script = started().event({ kind: 'reports', reports: ['w2', 'w1', 'w0'].map((id) => reduced(id, 1)) });
    const committed = script.effects.filter(({ kind }) => kind === 'committed');
    expect(committed).toMatchObject([
      { step: 1, sums: { weight: 5, loss: 0 + 0.3 + (0.1 * 2 + 0.3) + (0.1 * 4 + 0.3) } },
    ]);
    expect(script.reason).toBe('every member reduced step 1');
  });

  it('say of each what is wrong with it', () => {
    const script = started().event({ kind: 'reports', reports: ['w0', 'x', 'w1'].map((id) => reduced(id, 3)) });
    expect(script.effects).toMatchObject([{ kind: 'send', to: 'x', message: { type: 'fenced' } }]);
    expect(script.reason).toMatch(
      /^ignored reduced of step 3 of rank 0 .*; ignored reduced: x is not a member of term 1; ignored reduced of step 3 of rank 1 /,
    );
  });
});
