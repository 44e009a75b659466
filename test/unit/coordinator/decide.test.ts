import { describe, expect, it } from 'vitest';
import { protocolVersion, type WorkerMessage } from '../../../src/comm/protocol.ts';
import { decide } from '../../../src/coordinator/decide.ts';
import {
  type Effect,
  initialState,
  type RunEvent,
  type RunPlan,
  type RunState,
  shareOf,
} from '../../../src/coordinator/runState.ts';

const plan: RunPlan = {
  worldSize: 2,
  startStep: 0,
  maxSteps: 4,
  globalBatchSize: 5,
  evalEverySteps: 2,
  checkpointEverySteps: 2,
  hashEverySteps: 1,
  heartbeatTimeoutMs: 1_000,
  joinTimeoutMs: 5_000,
};
const hash = (digit: string) => digit.repeat(64);
const timings = { dataWaitMs: 0, forwardBackwardMs: 1, ringWaitMs: 1, commitWaitMs: 0, optimizerMs: 1 };
const tensors = [{ name: 'w', shape: [2] }];

/** Drives the core like a rim would, with scripted workers. */
class Script {
  state;
  nowMs = 0;
  effects: readonly Effect[] = [];
  reason = '';

  constructor(changes: Partial<RunPlan> = {}) {
    this.state = initialState({ ...plan, ...changes }, 0);
  }

  event(event: RunEvent): this {
    ({ state: this.state, effects: this.effects, reason: this.reason } = decide(this.state, event, this.nowMs));
    return this;
  }

  from(id: string, message: WorkerMessage): this {
    return this.event({ kind: 'message', from: id, message });
  }

  join(id: string, version = protocolVersion): this {
    const join = { type: 'join', protocolVersion: version, version: '0', host: 'h', pid: 1, ringAddress: `ring-${id}` };
    return this.from(id, join as WorkerMessage);
  }

  ready(id: string, step = 0, parameterHash = hash('a')): this {
    return this.from(id, { type: 'ready', epoch: 1, step, parameterHash, engine: 'e', tensors });
  }

  reduced(id: string, step: number): this {
    return this.from(id, { type: 'reduced', epoch: 1, step, lossSum: 6, targets: 3, gradNorm: 1 });
  }

  applied(id: string, step: number, parameterHash = hash('b')): this {
    return this.from(id, { type: 'applied', epoch: 1, step, timings, ringBytesSent: 8, parameterHash });
  }

  start(): this {
    return this.join('w0').join('w1').ready('w0', this.state.step).ready('w1', this.state.step);
  }

  step(step: number): this {
    return this.reduced('w0', step).reduced('w1', step).applied('w0', step).applied('w1', step);
  }

  evaluated(step: number): this {
    for (const id of ['w0', 'w1']) this.from(id, { type: 'evaluated', epoch: 1, step, lossSum: 4, targets: 4 });
    return this;
  }

  snapshotTaken(step: number): this {
    return this.from('w0', { type: 'snapshotTaken', epoch: 1, step, bytes: 24 });
  }

  kinds(): string[] {
    return this.effects.map((effect) => (effect.kind === 'send' ? `${effect.message.type}→${effect.to}` : effect.kind));
  }
}

describe('the decision core', () => {
  it('forms the ring when everyone has joined, ranks in the order of ids', () => {
    const script = new Script().join('w1');
    expect(script.kinds()).toEqual(['welcome']);
    script.join('w0');
    expect(script.state.stage).toBe('forming');
    const forms = script.effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.type === 'form' ? [{ to: effect.to, ...effect.message }] : [],
    );
    expect(forms).toMatchObject([
      {
        to: 'w0',
        rank: 0,
        worldSize: 2,
        nextAddress: 'ring-w1',
        previousAddress: 'ring-w1',
        state: 'initialise',
        epoch: 1,
      },
      {
        to: 'w1',
        rank: 1,
        worldSize: 2,
        nextAddress: 'ring-w0',
        previousAddress: 'ring-w0',
        state: 'initialise',
        epoch: 1,
      },
    ]);
  });

  it('leases every sample of two steps once, then starts', () => {
    const { effects } = new Script().start();
    const leases = effects.flatMap((effect) => (effect.kind === 'assign' ? [effect] : []));
    expect(leases.map(({ to, step, sampleFrom, sampleCount }) => [to, step, sampleFrom, sampleCount])).toEqual([
      ['w0', 1, 0, 3],
      ['w1', 1, 3, 2],
      ['w0', 2, 0, 3],
      ['w1', 2, 3, 2],
    ]);
  });

  it('commits a step only when every member has reduced it', () => {
    const script = new Script().start().reduced('w0', 1);
    expect(script.effects).toEqual([]);
    expect(script.state.step).toBe(0);
    script.reduced('w1', 1);
    expect(script.kinds().slice(0, 2)).toEqual(['commit→w0', 'commit→w1']);
    expect(script.state.step).toBe(1);
  });

  it('ignores what belongs to another epoch or step', () => {
    const script = new Script().start().reduced('w0', 2);
    expect(script.reason).toMatch(/ignored reduced of step 2/);
    script.from('w0', { type: 'reduced', epoch: 0, step: 1, lossSum: 1, targets: 1, gradNorm: 1 });
    expect(script.reason).toMatch(/ignored/);
    expect(script.state.members.every(({ reduced }) => reduced === undefined)).toBe(true);
  });

  it('reports a step with the mean loss over all targets', () => {
    const { effects } = new Script().start().step(1);
    expect(effects[0]).toMatchObject({ kind: 'stepDone', step: 1, loss: 2, gradNorm: 1 });
  });

  it('reports the loss of the step, though a fast member has reduced the next one already', () => {
    const script = new Script().start().reduced('w0', 1).reduced('w1', 1).applied('w0', 1);
    script.from('w0', { type: 'reduced', epoch: 1, step: 2, lossSum: 60, targets: 3, gradNorm: 9 });
    script.applied('w1', 1);
    expect(script.effects[0]).toMatchObject({ kind: 'stepDone', step: 1, loss: 2, gradNorm: 1 });
    script.reduced('w1', 2);
    expect(script.state.step).toBe(2);
  });

  it('holds for evaluation, then a checkpoint, then proceeds, and never writes two checkpoints at once', () => {
    const script = new Script().start().step(1).reduced('w0', 2).reduced('w1', 2);
    expect(script.effects[0]).toMatchObject({ message: { type: 'commit', hold: true } });
    script.applied('w0', 2).applied('w1', 2);
    expect(script.kinds()).toEqual(['stepDone', 'evaluate', 'evaluate']);
    script.evaluated(2);
    expect(script.kinds()).toEqual(['evaluationDone', 'snapshot→w0']);
    expect(script.effects[0]).toMatchObject({ loss: 1 });
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

  it('goes on training when a checkpoint could not be written', () => {
    const script = new Script().start().step(1).step(2).evaluated(2).snapshotTaken(2);
    script.event({ kind: 'checkpointFailed', step: 2 });
    expect(script.state.stage).toBe('stepping');
    expect(script.step(3).kinds()).toEqual(['stepDone']);
  });

  it('sends the state to everyone when the run resumes', () => {
    const script = new Script({ startStep: 2 }).join('w0').join('w1');
    expect(script.kinds()).toEqual(['welcome', 'form→w0', 'sendState', 'form→w1', 'sendState']);
    script.ready('w0', 2).ready('w1', 2);
    expect(script.effects.flatMap((effect) => (effect.kind === 'assign' ? [effect.step] : []))).toEqual([3, 3, 4, 4]);
  });

  it.each<[string, (script: Script) => Script, RegExp]>([
    ['another start', (s) => s.join('w0').join('w1').ready('w0').ready('w1', 0, hash('f')), /different parameters/],
    [
      'diverged replicas',
      (s) => s.start().reduced('w0', 1).reduced('w1', 1).applied('w0', 1).applied('w1', 1, hash('f')),
      /replicas differ after step 1.*rank 0.*rank 1/,
    ],
    [
      'a killed worker',
      (s) =>
        s
          .start()
          .from('w1', { type: 'heartbeat', step: 1, phase: 'all-reduce' })
          .event({ kind: 'workerExited', id: 'w1', description: 'was killed by SIGKILL' }),
      /rank 1 .* was killed by SIGKILL in step 1 during all-reduce/,
    ],
    [
      'a worker that never joined',
      (s) => s.event({ kind: 'workerExited', id: 'w1', description: 'exited with code 1' }),
      /worker w1 exited with code 1 before it joined/,
    ],
    [
      'a failed worker',
      (s) => s.start().from('w0', { type: 'failed', step: 1, phase: 'optimizer', message: 'boom', blame: 'run' }),
      /rank 0 .* failed in step 1 during optimizer: boom/,
    ],
  ])('ends the run and stops everyone: %s', (_, play, message) => {
    const script = play(new Script());
    expect(script.state.stage).toBe('failed');
    expect(script.effects.at(-1)).toMatchObject({ kind: 'fail', message: expect.stringMatching(message) });
    expect(script.kinds().filter((kind) => kind.startsWith('stop'))).toHaveLength(script.state.members.length);
  });

  describe.each(['user', 'peer', 'run'] as const)('a worker that failed, blame %s', (blame) => {
    const failure = { step: 1, phase: 'all-reduce', message: 'it broke', blame } as const;
    const report = { type: 'failed', ...failure } as const;
    const exit = { kind: 'workerExited', id: 'w1', description: 'failed: it broke', failure } as const;
    const finishing = (script: Script): Script => {
      script.state = { ...script.start().state, stage: 'finishing', checkpointInFlight: 1 };
      return script;
    };

    it.each<[string, (script: Script) => Script, RunState['stage']]>([
      ['while the run gathers', (s) => s.join('w1'), blame === 'peer' ? 'gathering' : 'failed'],
      ['in a step', (s) => s.start(), blame === 'peer' ? 'stepping' : 'failed'],
      ['when nothing is asked of it any more', finishing, 'finishing'],
    ])('leads to the same whether its report or its exit comes first: %s', (_, play, stage) => {
      const reported = play(new Script()).from('w1', report);
      const exited = play(new Script());
      exited.event(exit);
      expect(reported.state.stage).toBe(stage);
      expect(exited.state).toEqual(reported.state);
      expect(exited.effects).toEqual(reported.effects);
    });

    it('is named by its id before it joined', () => {
      const script = new Script();
      script.event(exit);
      const message = 'worker w1 failed: it broke before it joined';
      expect(script.effects.at(-1)).toEqual({ kind: 'fail', message, blame: blame === 'user' ? 'user' : 'run' });
    });
  });

  it('takes the first of several that gave up for the cause', () => {
    const script = new Script({ heartbeatTimeoutMs: 1e6 }).start();
    const failed = { type: 'failed', step: 1, phase: 'all-reduce', blame: 'peer' } as const;
    script.from('w1', { ...failed, message: 'the link broke' });
    script.nowMs = 100;
    script.from('w0', { ...failed, message: 'rank 1 is gone' });
    script.nowMs = 1_250;
    script.event({ kind: 'tick' });
    expect(script.effects.at(-1)).toMatchObject({ message: expect.stringMatching(/rank 1 .*: the link broke/) });
  });

  it('names the one that died, not the neighbour that noticed first', () => {
    const failed = { type: 'failed', step: 1, phase: 'all-reduce', message: 'rank 1 is gone', blame: 'peer' } as const;
    const script = new Script().start().from('w0', failed);
    expect(script.state.stage).toBe('stepping');
    script.event({ kind: 'workerExited', id: 'w0', description: 'failed: rank 1 is gone', failure: failed });
    expect(script.state.stage).toBe('stepping');
    script.event({ kind: 'workerExited', id: 'w1', description: 'was killed by SIGKILL' });
    expect(script.effects.at(-1)).toMatchObject({ message: expect.stringMatching(/rank 1 .* was killed/) });

    const alone = new Script({ heartbeatTimeoutMs: 1e6 }).start().from('w0', failed);
    alone.nowMs = 1_001;
    alone.event({ kind: 'tick' });
    expect(alone.effects.at(-1)).toMatchObject({ message: expect.stringMatching(/rank 0 .* rank 1 is gone/) });
  });

  it('knows from the messages of a step what each member does', () => {
    const script = new Script({ evalEverySteps: 0, checkpointEverySteps: 0 }).start();
    const doing = () => script.state.members.map(({ phase, step }) => `${phase} ${step}`);
    expect(doing()).toEqual(['forward and backward 1', 'forward and backward 1']);
    script.reduced('w0', 1);
    expect(doing()).toEqual(['waiting for commit 1', 'forward and backward 1']);
    script.reduced('w1', 1);
    expect(doing()).toEqual(['optimizer 1', 'optimizer 1']);
    script.applied('w1', 1);
    expect(doing()).toEqual(['optimizer 1', 'forward and backward 2']);
  });

  it('notes a new phase without an answer', () => {
    const script = new Script().start().from('w1', { type: 'phase', step: 1, phase: 'optimizer' });
    expect(script.effects).toEqual([]);
    script.event({ kind: 'workerExited', id: 'w1', description: 'was killed by SIGKILL' });
    expect(script.effects.at(-1)).toMatchObject({ message: expect.stringMatching(/in step 1 during optimizer/) });
  });

  it('answers heartbeats, so that a member in a long step hears of the coordinator', () => {
    const script = new Script().start().from('w1', { type: 'heartbeat', step: 1, phase: 'forward and backward' });
    expect(script.effects.at(-1)).toEqual({ kind: 'send', to: 'w1', message: { type: 'heartbeat' } });
  });

  it('finds a silent member by its heartbeats, and a missing one by the clock', () => {
    const silent = new Script().start();
    silent.nowMs = 900;
    silent.from('w0', { type: 'heartbeat', step: 1, phase: 'forward and backward' });
    silent.nowMs = 1_100;
    silent.event({ kind: 'tick' });
    expect(silent.effects.at(-1)).toMatchObject({
      message: expect.stringMatching(/rank 1 .* silent for 1.1 s in step/),
    });

    const missing = new Script({ heartbeatTimeoutMs: 1e6 }).join('w0');
    missing.nowMs = 5_001;
    missing.event({ kind: 'tick' });
    expect(missing.effects.at(-1)).toMatchObject({
      message: expect.stringMatching(/1 of 2 workers joined within 5.0 s/),
    });
  });

  it('refuses another protocol version, and workers that come after the start', () => {
    expect(new Script().join('w0', protocolVersion + 1).effects).toMatchObject([
      { message: { type: 'refused', reason: expect.stringMatching(/protocol version/) } },
    ]);
    expect(new Script().start().join('w2').effects).toMatchObject([
      { to: 'w2', message: { type: 'refused', reason: expect.stringMatching(/has started/) } },
    ]);
  });

  it('counts a step once, whatever a member repeats', () => {
    const script = new Script().start().step(1);
    expect(script.applied('w0', 1).effects).toEqual([]);
    expect(script.reason).toMatch(/ignored applied of step 1/);
    expect(script.reduced('w0', 2).reduced('w0', 2).effects).toEqual([]);
    expect(script.state.step).toBe(1);
  });

  it('names the engines where replicas that compute on different ones come apart', () => {
    const script = new Script().join('w0').join('w1').ready('w0');
    const tensor = { type: 'ready', epoch: 1, step: 0, parameterHash: hash('a'), tensors } as const;
    script
      .from('w1', { ...tensor, engine: 'another' })
      .reduced('w0', 1)
      .reduced('w1', 1);
    script.applied('w0', 1).applied('w1', 1, hash('f'));
    expect(script.effects.at(-1)).toMatchObject({
      message: expect.stringMatching(/they compute on e and another: use the same engine everywhere/),
    });
  });

  it('lets a stranger come, be refused and go: the run trains on', () => {
    const script = new Script().start().join('stranger');
    script.event({ kind: 'peerGone', id: 'stranger', reason: 'its connection is closed' });
    expect(script.state.stage).toBe('stepping');
    script.event({ kind: 'malformed', from: 'stranger', problem: 'no msgpack' });
    expect(script.effects).toEqual([
      { kind: 'warn', message: expect.stringMatching(/ignored a message of stranger, which is no worker.*no msgpack/) },
    ]);
    script.event({ kind: 'peerGone', id: 'w1', reason: 'its connection is closed' });
    expect(script.effects.at(-1)).toMatchObject({
      message: expect.stringMatching(/rank 1 .* is gone \(its connection/),
    });
  });

  it('ends when a member cannot be understood: it would wait for it in vain', () => {
    const script = new Script().start().event({ kind: 'malformed', from: 'w1', problem: 'lossSum: expected number' });
    expect(script.effects.at(-1)).toMatchObject({
      kind: 'fail',
      message: expect.stringMatching(/rank 1 .* sent what is no message: lossSum/),
    });
  });

  it('refuses who joins after the end, who would wait for ever', () => {
    const script = new Script().join('w0').event({ kind: 'stopRequested' });
    expect(script.effects.at(-1)).toEqual({ kind: 'finish', step: 0 });
    expect(script.join('w1').effects).toMatchObject([
      { to: 'w1', message: { type: 'refused', reason: expect.stringMatching(/is over/) } },
    ]);
  });

  it.each<[string, (script: Script) => Script]>([
    ['gathering', (s) => s.join('w0')],
    ['forming', (s) => s.join('w0').join('w1').ready('w0')],
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

  it('stops in order when asked: finishes the step, evaluates, writes a checkpoint', () => {
    const script = new Script({ maxSteps: 100, evalEverySteps: 0, checkpointEverySteps: 0 }).start();
    script.event({ kind: 'stopRequested' }).step(1);
    expect(script.kinds()).toEqual(['stepDone', 'snapshot→w0']);
    script.snapshotTaken(1).event({ kind: 'checkpointWritten', step: 1 });
    expect(script.effects.at(-1)).toEqual({ kind: 'finish', step: 1 });
  });

  it('is pure: the same state and event give the same decision and leave the state alone', () => {
    const before = new Script().start().state;
    const frozen = structuredClone(before);
    const event: RunEvent = {
      kind: 'message',
      from: 'w0',
      message: { type: 'reduced', epoch: 1, step: 1, lossSum: 1, targets: 1, gradNorm: 1 },
    };
    expect(decide(before, event, 5)).toEqual(decide(before, event, 5));
    expect(before).toEqual(frozen);
  });
});

describe('shareOf', () => {
  it.each([
    [12, 1],
    [12, 5],
    [3, 3],
    [2, 4],
    [0, 2],
  ])('splits %i items over %i ranks, each once', (total, worldSize) => {
    const items: number[] = [];
    for (let rank = 0; rank < worldSize; rank++) {
      const { from, count } = shareOf(total, rank, worldSize);
      for (let i = 0; i < count; i++) items.push(from + i);
      expect(count - Math.floor(total / worldSize)).toBeLessThanOrEqual(1);
    }
    expect(items).toEqual(Array.from({ length: total }, (_, i) => i));
  });
});
