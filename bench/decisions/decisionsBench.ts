/**
 * What the decisions of a run cost (src/coordinator/core), without sockets, files and workers: fake members send the core the messages of
 * a step, and lose their connections. It grows with the number of workers, and must not grow with its square.
 */
import { InvariantError } from '../../src/base/errors.ts';
import { median } from '../../src/base/statistics.ts';
import { fixed, numberColumn, tableHeading, tableRow } from '../../src/bench/table.ts';
import { protocolVersion } from '../../src/comm/protocol.ts';
import type { WorkerMessage } from '../../src/comm/workerMessages.ts';
import { decide } from '../../src/coordinator/core/decide.ts';
import type { Effect } from '../../src/coordinator/core/effects.ts';
import type { RunEvent } from '../../src/coordinator/core/runEvents.ts';
import type { RunPlan } from '../../src/coordinator/core/runPlan.ts';
import { initialState, type RunState } from '../../src/coordinator/core/runState.ts';

export interface DecisionsResult {
  readonly workers: number;
  /** Processor time of all decisions of a step: a heartbeat, `reduced` and `applied` of every worker. Median over the steps. */
  readonly stepMs: number;
  /** The same for one worker. */
  readonly workerMs: number;
  /** For workers whose connections are lost at once: their number, the terms that follow, and the time of the decisions. */
  readonly lost: number;
  readonly terms: number;
  readonly lossMs: number;
}

const tensors = [{ name: 'w', shape: [2], parts: ['model', 'm', 'v'] }] as const;
const timings = { dataWaitMs: 0, forwardBackwardMs: 1, ringWaitMs: 1, commitWaitMs: 0, optimizerMs: 1 };
const engineId = { engine: 'fake', deviceKind: 'none', unit: 'none', precision: 'float32' };

function planOf(workers: number): RunPlan {
  return {
    tensors,
    runId: 'r',
    worldSize: workers,
    minWorkers: 1,
    localWorkers: [],
    restartsMax: 0,
    open: true,
    startStep: 0,
    startsFromCheckpoint: false,
    maxSteps: 1e9,
    schedule: { kind: 'constant', learningRate: 1, minLearningRate: 0, warmupSteps: 0, decaySteps: 1e9 },
    gradClip: 1,
    precision: 'float32',
    globalBatchSize: 2 * workers,
    evalEverySteps: 0,
    evalSamples: 1,
    evalPartSamples: 1,
    stopAfter: 0,
    evaluations: [],
    checkpointEverySteps: 0,
    checkpointBest: false,
    hashEverySteps: 0,
    heartbeatIntervalMs: 1_000,
    heartbeatTimeoutMs: 10_000,
    joinTimeoutMs: 10_000,
    stepTimeoutMs: 60_000,
    batchSplit: 'equal',
  };
}

type Assigned = Extract<Effect, { kind: 'assign' }>;

/** The coordinator's side of a run, with workers that answer at once, each time in another order. */
export class FakeRun {
  state: RunState;
  readonly ids: readonly string[];
  /** By worker and step. */
  readonly #assigned = new Map<string, Assigned>();

  constructor(workers: number) {
    this.state = initialState(planOf(workers), 0);
    this.ids = Array.from({ length: workers }, (_, i) => `host-${String(i >> 5).padStart(2, '0')}-${i}.${1_000 + i}.1`);
    for (const [i, id] of this.ids.entries()) {
      const [worker = ''] = id.split('.');
      const who = { version: '0', host: `host-${i >> 5}`, pid: 1_000 + i, worker, ringAddress: `ring-${i}` };
      this.#send(id, { type: 'join', protocolVersion, ...who, state: { step: 0, term: 0 } });
    }
    for (const id of this.ids) this.#send(id, { type: 'prepared', engine: 'fake', engineId, tensors });
    this.ready(this.ids);
  }

  ready(ids: readonly string[]): void {
    const { term, step } = this.state;
    const stateHash = 'a'.repeat(64);
    for (const id of ids) this.#send(id, { type: 'ready', term, step, stateHash });
    if (this.state.stage !== 'stepping') throw new InvariantError(`the fake run is ${this.state.stage}`);
  }

  /** A heartbeat of each in the middle of it. */
  step(): void {
    const { term } = this.state;
    const step = this.state.step + 1;
    const ids = this.#inTurn(step);
    for (const id of ids) {
      this.#send(id, { type: 'heartbeat', step, phase: 'all-reduce', ringFrames: 1 });
      const { sampleFrom, sampleCount } = this.#assigned.get(`${id} ${step}`)!;
      this.#assigned.delete(`${id} ${step}`);
      const sums = { weight: sampleCount, loss: sampleCount };
      this.#send(id, { type: 'reduced', term, step, sampleFrom, sampleCount, sums, gradNorm: 1 });
    }
    for (const id of ids) this.#send(id, { type: 'applied', term, step, timings, ringBytesSent: 8 });
    if (this.state.appliedStep !== step) throw new InvariantError(`step ${step} was not applied`);
  }

  event(event: RunEvent): void {
    const { state, effects } = decide(this.state, event, 0);
    this.state = state;
    for (const effect of effects) {
      if (effect.kind === 'assign') this.#assigned.set(`${effect.to} ${effect.step}`, effect);
      else if (effect.kind === 'fail') throw new InvariantError(effect.message);
    }
  }

  /** Every step begins with another worker. */
  #inTurn(step: number): string[] {
    const from = (step * 37) % this.ids.length;
    return [...this.ids.slice(from), ...this.ids.slice(0, from)];
  }

  #send(from: string, message: WorkerMessage): void {
    this.event({ kind: 'message', from, message });
  }
}

/** Fraction of the workers that are lost at once, and their number at most. */
const [lostShare, lostMax] = [0.25, 64];

export function runDecisionsBench(workers: number, steps: number): DecisionsResult {
  const run = new FakeRun(workers);
  for (let i = 0; i < 20; i++) run.step();
  const stepMs = Array.from({ length: steps }, () => timeOf(() => run.step()));
  const gone = run.ids.slice(0, Math.min(lostMax, Math.floor(lostShare * workers)));
  const { term } = run.state;
  const lossMs = timeOf(() => {
    const losses = gone.map((id) => ({ kind: 'peerGone', id, reason: 'its connection is closed' }) as const);
    run.event({ kind: 'losses', losses });
  });
  const typical = median(stepMs);
  return {
    workers,
    stepMs: typical,
    workerMs: typical / workers,
    lost: gone.length,
    terms: run.state.term - term,
    lossMs,
  };
}

/** Processor time of this process, in milliseconds. */
function timeOf(work: () => void): number {
  const from = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1_000;
}

const columns = [
  numberColumn('workers'),
  numberColumn('ms a step'),
  numberColumn('ms a worker'),
  numberColumn('lost at once'),
  numberColumn('terms'),
  numberColumn('ms'),
];

export function renderDecisionsHead(): string {
  return `decisions of the coordinator, without sockets\n\n${tableHeading(columns)}\n`;
}

export function renderDecisionsRow({ workers, stepMs, workerMs, lost, terms, lossMs }: DecisionsResult): string {
  const cells = [String(workers), fixed(stepMs, 3), fixed(workerMs, 5), String(lost), String(terms), fixed(lossMs, 1)];
  return `${tableRow(columns, cells)}\n`;
}
