/**
 * The vocabulary of the decision core (decide.ts): what a run is, what can happen to it, and what can be done about it.
 * Plain data only.
 */
import type {
  CoordinatorMessage,
  StepTimings,
  TensorTable,
  WorkerFailure,
  WorkerMessage,
  WorkerPhase,
} from '../comm/protocol.ts';

/** What does not change during a run. */
export interface RunPlan {
  /** Workers that must have joined before the run starts. */
  readonly worldSize: number;
  /** Updates applied before the run: 0, or the step of the checkpoint that it resumes. */
  readonly startStep: number;
  readonly maxSteps: number;
  /** Samples of a step, over all ranks. */
  readonly globalBatchSize: number;
  /** Every so many steps; 0 is never. */
  readonly evalEverySteps: number;
  readonly checkpointEverySteps: number;
  readonly hashEverySteps: number;
  readonly heartbeatTimeoutMs: number;
  readonly joinTimeoutMs: number;
}

/** One worker, as the coordinator knows it. `step` counts updates: step 1 is the first. */
export interface Member {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly ringAddress: string;
  /** -1 until the membership is formed. */
  readonly rank: number;
  readonly lastSeenMs: number;
  readonly phase: WorkerPhase;
  /** The step that it works on. */
  readonly step: number;
  readonly ready?: { readonly parameterHash: string; readonly engine: string; readonly tensors: TensorTable };
  /** The newest step whose gradients are reduced on it. */
  readonly reduced?: { readonly step: number; readonly lossSum: number; readonly targets: number; gradNorm: number };
  /** The newest step that it applied. */
  readonly applied?: {
    readonly step: number;
    readonly timings: StepTimings;
    readonly ringBytesSent: number;
    readonly parameterHash: string | undefined;
  };
  /** It gave up because of somebody else; who that was is about to be known. */
  readonly gaveUp?: { readonly atMs: number; readonly message: string };
  readonly evaluated?: { readonly step: number; readonly lossSum: number; readonly targets: number };
}

/**
 * gathering → forming → stepping ⇄ (evaluating, snapshotting) → finishing → finished; failed from anywhere.
 * In `finishing` the last checkpoint is still being written.
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
  readonly startedMs: number;
  readonly epoch: number;
  /** Updates committed. */
  readonly step: number;
  /** Of the step committed last, over the whole global batch. Members may have reduced the next one already. */
  readonly committed: { readonly loss: number; readonly gradNorm: number };
  /** Updates whose commit every member has applied. */
  readonly appliedStep: number;
  readonly members: readonly Member[];
  /** Set once the user asked for an orderly end. */
  readonly stopRequested: boolean;
  /** The members wait for `proceed` after the committed step. */
  readonly holding: boolean;
  /** Step of the checkpoint that is being written. */
  readonly checkpointInFlight: number | undefined;
  /** The newest step with a snapshot taken (or tried). */
  readonly snapshotStep: number;
  readonly evaluatedStep: number;
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
      readonly id: string;
      /** Completes "rank 1 …". */
      readonly description: string;
      /** What it reported of a failure, which may come before its own message of it. */
      readonly failure?: WorkerFailure;
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
      readonly epoch: number;
      readonly step: number;
      readonly sampleFrom: number;
      readonly sampleCount: number;
    }
  /** Send this rank's share of the validation windows. */
  | {
      readonly kind: 'evaluate';
      readonly to: string;
      readonly epoch: number;
      readonly step: number;
      readonly rank: number;
    }
  /** Stream the state of the checkpoint that the run resumes. */
  | { readonly kind: 'sendState'; readonly to: string; readonly step: number }
  /** Open a checkpoint for the stream that `from` is about to send. */
  | {
      readonly kind: 'beginCheckpoint';
      readonly from: string;
      readonly step: number;
      readonly bytes: number;
      readonly tensors: TensorTable;
    }
  | {
      readonly kind: 'stepDone';
      readonly step: number;
      readonly epoch: number;
      readonly loss: number;
      readonly gradNorm: number;
      readonly ranks: readonly RankReport[];
    }
  | { readonly kind: 'evaluationDone'; readonly step: number; readonly loss: number; readonly targets: number }
  | { readonly kind: 'started'; readonly members: readonly Member[] }
  | { readonly kind: 'finish'; readonly step: number }
  /** Something that a user should know and that does not end the run. */
  | { readonly kind: 'warn'; readonly message: string }
  | { readonly kind: 'fail'; readonly message: string; readonly blame: 'user' | 'run' };

export interface Decision {
  readonly state: RunState;
  readonly effects: readonly Effect[];
  /** Why, in words; empty where nothing was decided. */
  readonly reason: string;
}

export function initialState(plan: RunPlan, nowMs: number): RunState {
  return {
    plan,
    stage: 'gathering',
    startedMs: nowMs,
    epoch: 0,
    step: plan.startStep,
    committed: { loss: 0, gradNorm: 0 },
    appliedStep: plan.startStep,
    members: [],
    stopRequested: false,
    holding: false,
    checkpointInFlight: undefined,
    snapshotStep: plan.startStep,
    evaluatedStep: plan.startStep,
  };
}

/** The contiguous share of `total` items that `rank` gets; the first ranks get one more where it does not divide. */
export function shareOf(total: number, rank: number, worldSize: number): { from: number; count: number } {
  const each = Math.floor(total / worldSize);
  const extra = total % worldSize;
  return { from: rank * each + Math.min(rank, extra), count: each + (rank < extra ? 1 : 0) };
}
