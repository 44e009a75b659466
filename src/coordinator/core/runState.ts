/**
 * The vocabulary of the decision core (decide.ts): what a run is, what can happen to it, and what can be done about it.
 * Plain data only.
 */
import type { StateTensor } from '../../base/stateParts.ts';
import { noSums, type Sums } from '../../base/sums.ts';
import type { CoordinatorMessage } from '../../comm/coordinatorMessages.ts';
import type { ComputeLimit, EngineId, StateClaim, StepTimings, WorkerPhase } from '../../comm/messageFields.ts';
import type { WorkerFailure, WorkerMessage } from '../../comm/workerMessages.ts';
import type { LoggedEvent } from '../../records/eventsLog.ts';
import type { EvaluatedLoss } from './bestEvaluation.ts';
import type { Schedule } from './schedule.ts';

/** What does not change during a run. */
export interface RunPlan {
  /** What the workers of an earlier run, which may still look for their coordinator, do not have. */
  readonly runId: string;
  /** Workers that should be there before the run starts; fewer will do after `joinTimeoutMs`, down to `minWorkers`. */
  readonly worldSize: number;
  /** Below this number of workers the run waits. */
  readonly minWorkers: number;
  /** Names of the workers that this machine starts. */
  readonly localWorkers: readonly string[];
  /** How often, over the whole run, a worker of this machine is started again. */
  readonly restartsMax: number;
  /** Whether workers of others may join. */
  readonly open: boolean;
  /** The parameters of its model, in any order. */
  readonly tensors: readonly StateTensor[];
  /** Updates applied before the run: 0, or the step of the checkpoint that it resumes. */
  readonly startStep: number;
  /** Whether the state of `startStep` is in a checkpoint; if not it is what every replica makes of the seed, and `startStep` is 0. */
  readonly startsFromCheckpoint: boolean;
  readonly maxSteps: number;
  /** The learning rate of each step. */
  readonly schedule: Schedule;
  /** `optimizer.gradClip` and `engine.precision`: what advice depends on. */
  readonly gradClip: number;
  readonly precision: string;
  /** Samples of a step, over all ranks. */
  readonly globalBatchSize: number;
  /** Every so many steps; 0 is never. */
  readonly evalEverySteps: number;
  /** Windows of an evaluation, over all ranks, and the most that a rank gets at a time. */
  readonly evalWindows: number;
  readonly evalPartWindows: number;
  /** Evaluations without a lower validation loss after which the run ends; 0 is never. */
  readonly stopAfter: number;
  /** The evaluations of earlier parts of the run. */
  readonly evaluations: readonly EvaluatedLoss[];
  readonly checkpointEverySteps: number;
  /** Whether the state with the lowest validation loss so far is saved as well, whenever it is. */
  readonly checkpointBest: boolean;
  readonly hashEverySteps: number;
  readonly heartbeatTimeoutMs: number;
  readonly joinTimeoutMs: number;
  readonly stepTimeoutMs: number;
  /** Whether every rank gets the same number of samples, or as many as its speed allows. */
  readonly batchSplit: 'equal' | 'proportional';
}

/** Where a coordinator that was killed had come to (journal.ts). */
export interface Resumed {
  readonly term: number;
  readonly step: number;
  readonly committedTerm: number;
  /** Of the gradient of the committed step, if the journal has it. */
  readonly gradNorm: number | undefined;
  /** Of the update of the committed step, if the journal has it: the schedule may be another by now. */
  readonly learningRate: number | undefined;
  /** Trained on in `step` updates, if the journal has it. */
  readonly tokens: number | undefined;
  /** Names of the workers that may still be there with their state. */
  readonly workers: readonly string[];
}

/** One worker, as the coordinator knows it. `step` counts updates: step 1 is the first. */
export interface Member {
  /** Of its connection: a worker that comes back has another. */
  readonly id: string;
  /** Its name, which stays. */
  readonly worker: string;
  readonly host: string;
  readonly pid: number;
  readonly ringAddress: string;
  /** -1 while it is not in the ring. */
  readonly rank: number;
  readonly lastSeenMs: number;
  readonly phase: WorkerPhase;
  /** The step that it works on. */
  readonly step: number;
  /** What its replica holds, or will hold once it has done what it was told. */
  readonly holds: StateClaim | undefined;
  /** Set once its replica is built. */
  readonly prepared?: {
    /** For people. */
    readonly engine: string;
    readonly engineId: EngineId;
    readonly tensors: readonly StateTensor[];
    readonly limit?: ComputeLimit;
  };
  /** The term that it is ready for, and the hash of its state if it was asked for. */
  readonly ready?: { readonly term: number; readonly stateHash: string | undefined };
  /** The newest step whose gradients are reduced on it. */
  readonly reduced?: {
    readonly step: number;
    readonly sampleFrom: number;
    readonly sampleCount: number;
    readonly sums: Sums;
    readonly gradNorm: number;
  };
  /** Its share of the step committed last, if it took part in it; it may have reduced the next one already. */
  readonly took?: {
    readonly step: number;
    readonly rank: number;
    readonly sampleFrom: number;
    readonly sampleCount: number;
  };
  /** The newest step that it applied. */
  readonly applied?: {
    readonly step: number;
    readonly timings: StepTimings;
    readonly ringBytesSent: number;
    readonly parameterHash: string | undefined;
  };
  /** The sums over the parts of the evaluation after a step that it has done, and their number. */
  readonly evaluated?: {
    readonly step: number;
    readonly parts: number;
    readonly sums: Sums;
  };
  /** Frames of the ring that it has received in its step, and since when there were no more, or it does what it does. */
  readonly ring?: { readonly frames: number; readonly sinceMs: number };
  /** It goes at the next step boundary. */
  readonly leaving: boolean;
  /** Samples a millisecond, smoothed; 0 until it is measured. */
  readonly speed: number;
}

/**
 * gathering → forming → stepping ⇄ (evaluating, snapshotting) → finishing → finished; failed from anywhere. A loss leads to
 * forming, or to gathering if too few are left. In `finishing` the last checkpoint is still being written.
 */
export type Stage =
  | 'gathering'
  | 'forming'
  | 'stepping'
  | 'evaluating'
  | 'snapshotting'
  | 'finishing'
  | 'finished'
  | 'failed';

export interface RunState {
  readonly plan: RunPlan;
  readonly stage: Stage;
  /** Since when the stage lasts; in `stepping`, since when the step does. */
  readonly sinceMs: number;
  readonly term: number;
  /** Updates committed. */
  readonly step: number;
  /** The term in which `step` was committed; together they name one state, to the bit. */
  readonly committedTerm: number;
  /** Of the step committed last, over the whole global batch. Members may have reduced the next one already. */
  readonly committed: {
    readonly sums: Sums;
    /** What every replica clips the gradient by; undefined where another coordinator committed the step, and no journal has it. */
    readonly gradNorm: number | undefined;
    /** What every replica makes the update with; undefined where `gradNorm` is. */
    readonly learningRate: number | undefined;
    readonly worldSize: number;
  };
  /** The step at which this coordinator opened its last term; undefined before the first. */
  readonly openedAtStep: number | undefined;
  /** Updates whose commit every member has applied. */
  readonly appliedStep: number;
  /** Steps whose samples are assigned in this term. */
  readonly assignedStep: number;
  /** The ring, in the order of ranks; empty while the run gathers. */
  readonly members: readonly Member[];
  /** Workers that are not in the ring. */
  readonly joiners: readonly Member[];
  /** Local workers that were started and have not joined. */
  readonly starting: readonly string[];
  /** Workers that may come back with their state: lost, but not known to be dead. */
  readonly missing: readonly { readonly worker: string; readonly sinceMs: number }[];
  readonly restarts: number;
  /** How many workers the run waits for while it gathers. */
  readonly needed: number;
  /** What became of the last worker that was lost, for the message if the run cannot go on. */
  readonly lastLoss: string | undefined;
  /** The ring of this term does not work; who is to blame is about to be known. */
  readonly broken:
    | { readonly atMs: number; readonly message: string; readonly suspect: number | undefined }
    | undefined;
  /** Rings that broke at this step without anybody being lost. */
  readonly ringFaults: number;
  /** Workers that had to leave the ring because it did not work with them: how often, and until when they stay out. */
  readonly absences: readonly { readonly worker: string; readonly times: number; readonly untilMs: number }[];
  /** Set once the run is to end in order: the user asked for it, or it gives up. */
  readonly stopRequested: boolean;
  /** Why it gives up: the message that it fails with once what the workers hold is saved. */
  readonly givingUp: string | undefined;
  /** The members wait for `proceed` after the committed step. */
  readonly holding: boolean;
  /** The checkpoint that is being written: its step, and the connection it comes through. */
  readonly checkpointInFlight: { readonly step: number; readonly from: string } | undefined;
  /** Step of a checkpoint whose sender is lost: whether it was written all the same is about to be known. */
  readonly checkpointAbandoned: number | undefined;
  /** The newest whole checkpoint; what a run falls back to when every state is lost. */
  readonly checkpointStep: number;
  /** The newest step with a snapshot taken (or tried). */
  readonly snapshotStep: number;
  readonly evaluatedStep: number;
  /** Every evaluation up to `evaluatedStep`, oldest first. */
  readonly evaluations: readonly EvaluatedLoss[];
  /** A checkpoint that was due is lost: the next boundary takes it. */
  readonly checkpointOwed: boolean;
}

export type RunEvent =
  | { readonly kind: 'message'; readonly from: string; readonly message: WorkerMessage }
  /** What somebody sent is no message; `problem` says why. */
  | { readonly kind: 'malformed'; readonly from: string; readonly problem: string }
  /** The connection of a worker that another machine started, or of a stranger, is lost. */
  | { readonly kind: 'peerGone'; readonly id: string; readonly reason: string }
  /** A worker that this machine started has ended. */
  | {
      readonly kind: 'workerExited';
      /** Its name. */
      readonly worker: string;
      readonly pid: number;
      /** Completes "rank 1 …". */
      readonly description: string;
      /** What it reported of a failure, which may come before its own message of it. */
      readonly failure?: WorkerFailure;
      /** It ended as it was meant to. */
      readonly clean: boolean;
    }
  | { readonly kind: 'checkpointWritten'; readonly step: number }
  | { readonly kind: 'checkpointFailed'; readonly step: number }
  | { readonly kind: 'stopRequested' }
  | { readonly kind: 'tick' };

/** What a rank reports for a finished step. */
export interface RankReport {
  readonly rank: number;
  readonly timings: StepTimings;
  readonly ringBytesSent: number;
  readonly parameterHash: string | undefined;
}

export type Effect =
  | { readonly kind: 'send'; readonly to: string; readonly message: CoordinatorMessage }
  | { readonly kind: 'welcome'; readonly to: string }
  /** Send the samples [sampleFrom, sampleFrom + sampleCount) of a step. */
  | {
      readonly kind: 'assign';
      readonly to: string;
      readonly term: number;
      readonly step: number;
      readonly sampleFrom: number;
      readonly sampleCount: number;
    }
  /** Send a part of this rank's share of the validation windows. */
  | {
      readonly kind: 'evaluate';
      readonly to: string;
      readonly term: number;
      readonly step: number;
      readonly rank: number;
      readonly part: number;
    }
  /** Stream the state of the newest checkpoint, or pass on what `from` sends, to workers that have none. */
  | {
      readonly kind: 'transfer';
      readonly from: string | 'checkpoint';
      readonly to: readonly string[];
      readonly term: number;
      readonly step: number;
      /** In the order of the stream. */
      readonly tensors: readonly StateTensor[];
    }
  /** Everybody's state is lost: what was written for later steps is void. */
  | { readonly kind: 'rewind'; readonly step: number }
  | { readonly kind: 'termOpened'; readonly term: number; readonly step: number; readonly members: readonly Member[] }
  /** To be kept before it is sent. */
  | {
      readonly kind: 'committed';
      readonly term: number;
      readonly step: number;
      readonly learningRate: number;
      readonly sums: Sums;
      readonly gradNorm: number;
      readonly ranks: readonly { rank: number; sampleFrom: number; sampleCount: number }[];
      /** The next step waits until this one is applied and `proceed` is sent; else the commit begins it. */
      readonly hold: boolean;
    }
  | { readonly kind: 'startWorker'; readonly worker: string; readonly afterMs: number }
  /** It is frozen, or otherwise in the way of its replacement. */
  | { readonly kind: 'killWorker'; readonly worker: string }
  /** What happened, for people: kept in events.jsonl, and shown where `show` says so. */
  | { readonly kind: 'event'; readonly event: LoggedEvent; readonly show: boolean }
  /** Open a checkpoint for the stream that `from` is about to send. */
  | {
      readonly kind: 'beginCheckpoint';
      readonly from: string;
      /** Of the stream, which may go on in a later one. */
      readonly term: number;
      readonly step: number;
      readonly bytes: number;
      readonly tensors: readonly StateTensor[];
    }
  | {
      readonly kind: 'stepDone';
      readonly step: number;
      readonly term: number;
      readonly learningRate: number;
      readonly sums: Sums;
      readonly gradNorm: number;
      readonly ranks: readonly RankReport[];
    }
  /** Its sender is lost. */
  | { readonly kind: 'abandonCheckpoint'; readonly step: number }
  | { readonly kind: 'evaluationDone'; readonly step: number; readonly sums: Sums }
  | { readonly kind: 'started'; readonly members: readonly Member[] }
  | { readonly kind: 'finish'; readonly step: number }
  /** Something that a user should know and that does not end the run. */
  | { readonly kind: 'warn'; readonly message: string; readonly ofStranger?: true }
  | { readonly kind: 'fail'; readonly message: string; readonly blame: 'user' | 'run' };

export interface Decision {
  readonly state: RunState;
  readonly effects: readonly Effect[];
  /** Why, in words; empty where nothing was decided. */
  readonly reason: string;
  /** The end of `reason`, where it says after the cause what is done about it. */
  readonly action?: string;
}

export function initialState(plan: RunPlan, nowMs: number, resumed?: Resumed): RunState {
  const step = resumed?.step ?? plan.startStep;
  const returning = resumed?.workers ?? [];
  // What a new replica holds is called the state of step 0 and term 0: it is not that of the checkpoint.
  const firstTerm = plan.startsFromCheckpoint && step === 0 ? 1 : 0;
  // Other weights that a run begins with are evaluated before its first step.
  const beginsWithWeights = plan.startsFromCheckpoint && plan.startStep === 0 && resumed === undefined;
  return {
    plan,
    stage: 'gathering',
    sinceMs: nowMs,
    term: resumed?.term ?? 0,
    step,
    committedTerm: resumed?.committedTerm || firstTerm,
    committed: { sums: noSums, gradNorm: resumed?.gradNorm, learningRate: resumed?.learningRate, worldSize: 0 },
    openedAtStep: undefined,
    appliedStep: step,
    assignedStep: step,
    members: [],
    joiners: [],
    starting: plan.localWorkers.filter((worker) => !returning.includes(worker)),
    missing: returning.map((worker) => ({ worker, sinceMs: nowMs })),
    restarts: 0,
    needed: returning.length > 0 ? returning.length : plan.worldSize,
    lastLoss: undefined,
    broken: undefined,
    ringFaults: 0,
    absences: [],
    stopRequested: false,
    givingUp: undefined,
    holding: true,
    checkpointInFlight: undefined,
    checkpointAbandoned: undefined,
    checkpointStep: plan.startStep,
    // A step that was committed before the coordinator was killed may have no checkpoint yet.
    snapshotStep: plan.startStep,
    evaluatedStep: beginsWithWeights ? -1 : step,
    evaluations: plan.evaluations,
    checkpointOwed: false,
  };
}
