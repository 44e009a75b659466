/** The state of the live view and its updates. Pure: the time is an argument. */
import type { WorkerPhase } from '../../comm/messageFields.ts';
import { isComplete } from '../../coordinator/core/decisionParts.ts';
import type { Member, RunState } from '../../coordinator/core/runState.ts';
import type { LoggedEvent } from '../../records/eventsLog.ts';
import type { EvaluationMetrics, StepMetrics } from '../../records/metricsLog.ts';
import { smoothedSpeed } from '../../records/recentSpeed.ts';

/** Number of losses in the sparkline. */
const lossesMost = 512;
const notesMost = 8;
/** Time that a lost worker stays visible. */
const lostShownMs = 60_000;
/** Weight of the newest step in a smoothed value. */
const smoothing = 0.1;
/** In shorter steps, the momentary phase of a worker is not informative. */
const flickerMs = 500;

/** Smoothed milliseconds that a rank spends in each part of a step. */
export interface StepParts {
  readonly computeMs: number;
  readonly ringMs: number;
  readonly waitMs: number;
  readonly updateMs: number;
}

export interface WorkerRow {
  readonly worker: string;
  /** -1 while the worker is not in the ring. */
  readonly rank: number;
  readonly state: string;
  readonly isTrouble: boolean;
  /** Number of sequences that it computed in the last step. */
  readonly samples?: number;
  readonly parts?: StepParts;
}

/** A line in the list of events. */
export interface Note {
  readonly atMs: number;
  readonly text: string;
  readonly isWarning: boolean;
}

export interface ViewState {
  readonly maxSteps: number;
  /** The last committed step. */
  readonly step: number;
  readonly stepTokens: number;
  readonly losses: readonly number[];
  readonly last?: StepMetrics;
  readonly tokensPerSecond: number;
  readonly mfu?: number;
  readonly evaluation?: EvaluationMetrics;
  readonly term: number;
  readonly parts: ReadonlyMap<number, StepParts>;
  readonly notes: readonly Note[];
  /** When each lost worker was lost; workers that have returned are not included. */
  readonly lost: ReadonlyMap<string, number>;
  /** All workers that have been in the run. */
  readonly known: ReadonlySet<string>;
}

export function initialView(facts: Pick<ViewState, 'maxSteps' | 'step' | 'stepTokens'>): ViewState {
  return {
    ...facts,
    losses: [],
    tokensPerSecond: 0,
    term: 0,
    parts: new Map(),
    notes: [],
    lost: new Map(),
    known: new Set(),
  };
}

export function afterStep(view: ViewState, last: StepMetrics): ViewState {
  const { tokensPerSecond: speed } = last;
  const before = last.term === view.term ? view.parts : new Map<number, StepParts>();
  // A step repeats if its coordinator was killed before it wrote the line, or if the run went back to a checkpoint.
  const losses = last.step > view.step ? view.losses : [];
  return {
    ...view,
    last,
    step: last.step,
    term: last.term,
    losses: [...losses, last.loss].slice(-lossesMost),
    tokensPerSecond: smoothedSpeed(view.tokensPerSecond || undefined, speed),
    ...(last.mfu !== undefined && { mfu: smoothedSpeed(view.mfu, last.mfu) }),
    parts: new Map(
      last.ranks.flatMap((rank) => {
        const now = partsOf(rank);
        const old = before.get(rank.rank);
        if (now === undefined) return old === undefined ? [] : [[rank.rank, old] as const];
        return [[rank.rank, old === undefined ? now : smoothedParts(old, now)] as const];
      }),
    ),
  };
}

export function afterEvaluation(view: ViewState, evaluation: EvaluationMetrics): ViewState {
  return { ...view, evaluation };
}

/** A lost worker is also reported as a warning, which adds the line to the list of events. */
export function afterEvent(view: ViewState, { event, worker, reason, action }: LoggedEvent, nowMs: number): ViewState {
  if (worker === undefined) return view;
  const lost = new Map(view.lost);
  if (event === 'lost') lost.set(worker, nowMs);
  if (event === 'join' || event === 'leave') lost.delete(worker);
  const known = new Set(view.known).add(worker);
  const isNews = event === 'restart' || event === 'leave' || (event === 'join' && view.last !== undefined);
  const text = action === undefined ? reason : `${reason}; ${action}`;
  return noted({ ...view, lost, known }, isNews ? text : '', false, nowMs);
}

/** Adds a line to the list of events, unless the text is empty. */
export function noted(view: ViewState, text: string, isWarning: boolean, atMs: number): ViewState {
  if (text === '') return view;
  return { ...view, notes: [...view.notes, { atMs, text, isWarning }].slice(-notesMost) };
}

/** A row for each worker in the run, joining it, or lost a moment ago. Ordered by rank, then the others. */
export function workerRows(view: ViewState, run: RunState, nowMs: number): WorkerRow[] {
  const inRing = run.members.map((member): WorkerRow => {
    const parts = view.parts.get(member.rank);
    const samples = view.last?.ranks.find(({ rank }) => rank === member.rank)?.sampleCount;
    return {
      worker: member.worker,
      rank: member.rank,
      state: memberState(member, run, parts),
      isTrouble: false,
      ...(parts !== undefined && { parts }),
      ...(samples !== undefined && { samples }),
    };
  });
  const others: WorkerRow[] = [
    ...run.joiners.map(({ worker, phase }) => other(worker, phase === 'waiting for work' ? 'joining' : words[phase])),
    ...run.starting.map((worker) => other(worker, view.known.has(worker) ? 'restarting' : 'starting', true)),
    ...run.missing.map(({ worker }) => other(worker, 'lost', true)),
    ...[...view.lost].flatMap(([worker, atMs]) => (nowMs - atMs < lostShownMs ? [other(worker, 'lost', true)] : [])),
  ];
  const seen = new Set<string>();
  return [...inRing, ...others].filter(({ worker }) => !seen.has(worker) && seen.add(worker));
}

/** The state of the run if it is not training. */
export function stageWords(run: RunState): string {
  const { stage, needed, members, joiners, stopRequested } = run;
  const present = members.length + joiners.length;
  const names = {
    gathering: `waiting for workers (${present} of ${needed})`,
    forming: 'forming the ring',
    stepping: stopRequested ? 'stopping after this step' : '',
    evaluating: 'evaluating',
    snapshotting: 'taking a snapshot',
    rollingOut: 'writing rollouts',
    finishing: 'writing the last checkpoint',
    finished: isComplete(run) ? 'finished' : 'stopped',
    failed: 'failed',
  } satisfies Record<RunState['stage'], string>;
  return names[stage];
}

const words = {
  starting: 'joining',
  building: 'building',
  'receiving state': 'receiving state',
  'waiting for work': 'waiting',
  'forward and backward': 'computing',
  'all-reduce': 'all-reduce',
  'waiting for commit': 'waiting',
  optimizer: 'updating',
  evaluation: 'evaluating',
  rollout: 'writing rollouts',
  snapshot: 'saving',
  stopping: 'stopping',
} satisfies Record<WorkerPhase, string>;

function memberState(member: Member, { stage }: RunState, parts: StepParts | undefined): string {
  if (member.leaving) return 'leaving';
  const isQuick = parts !== undefined && totalMs(parts) < flickerMs;
  return stage === 'stepping' && isQuick ? 'computing' : words[member.phase];
}

function other(worker: string, state: string, isTrouble = state === 'lost'): WorkerRow {
  return { worker, rank: -1, state, isTrouble };
}

export function totalMs({ computeMs, ringMs, waitMs, updateMs }: StepParts): number {
  return computeMs + ringMs + waitMs + updateMs;
}

function partsOf(rank: StepMetrics['ranks'][number]): StepParts | undefined {
  const { dataWaitMs, forwardBackwardMs, ringWaitMs, commitWaitMs, optimizerMs } = rank;
  if (forwardBackwardMs === undefined) return undefined;
  return {
    computeMs: forwardBackwardMs,
    ringMs: ringWaitMs ?? 0,
    waitMs: (dataWaitMs ?? 0) + (commitWaitMs ?? 0),
    updateMs: optimizerMs ?? 0,
  };
}

function smoothedParts(old: StepParts, now: StepParts): StepParts {
  return {
    computeMs: smoothed(old.computeMs, now.computeMs),
    ringMs: smoothed(old.ringMs, now.ringMs),
    waitMs: smoothed(old.waitMs, now.waitMs),
    updateMs: smoothed(old.updateMs, now.updateMs),
  };
}

function smoothed(old: number, now: number): number {
  return (1 - smoothing) * old + smoothing * now;
}
