/** How the coordinator can respond to what happens, for the decision core (decide.ts). Plain data only. */
import type { StateTensor } from '../../base/stateParts.ts';
import type { Sums } from '../../base/sums.ts';
import type { CoordinatorMessage } from '../../comm/coordinatorMessages.ts';
import type { StepTimings } from '../../comm/messageFields.ts';
import type { LoggedEvent } from '../../records/eventsLog.ts';
import type { Member, RunState } from './runState.ts';

/** A rank's report of a finished step. */
export interface RankReport {
  readonly rank: number;
  readonly timings: StepTimings;
  readonly ringBytesSent: number;
  readonly parameterHash: string | undefined;
}

export type Effect =
  | { readonly kind: 'send'; readonly to: string; readonly message: CoordinatorMessage }
  | { readonly kind: 'welcome'; readonly to: string }
  /** Send the samples [sampleFrom, sampleFrom + sampleCount) of a step to a rank. */
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
  /** Forget the parts of earlier rollouts: those of this iteration follow. */
  | { readonly kind: 'beginRollouts'; readonly iteration: number }
  /** Send the prompts of a part of the rollouts. */
  | {
      readonly kind: 'rollout';
      readonly to: string;
      readonly term: number;
      readonly step: number;
      readonly iteration: number;
      readonly part: number;
    }
  /** Keep the part that has just arrived. */
  | { readonly kind: 'keepRollouts'; readonly iteration: number; readonly part: number }
  /** Compute the rewards and write the file; answered by `rolloutsWritten`. */
  | {
      readonly kind: 'judgeRollouts';
      readonly iteration: number;
      readonly step: number;
      readonly committedTerm: number;
    }
  /** Record this before any of the iteration's samples is sent. */
  | { readonly kind: 'rolloutsKnown'; readonly iteration: number; readonly step: number; readonly sha256: string }
  /**
   * Bring the state to the workers without it: from one rank to the next in the ring, of which the coordinator only passes on the
   * acknowledgements; if no worker has it, to the first of them from the newest checkpoint.
   */
  | {
      readonly kind: 'transfer';
      /** The one that receives the checkpoint's state, if any. */
      readonly first: string | undefined;
      /** Neighbours: `to` receives from `from`. */
      readonly passes: readonly { readonly from: string; readonly to: string }[];
      readonly term: number;
      readonly step: number;
      /** In stream order. */
      readonly tensors: readonly StateTensor[];
    }
  /** The plan has another number of steps: see `fromCheckpoint` and `counted`. */
  | { readonly kind: 'lengthChanged'; readonly maxSteps: number }
  /** Every state is lost: records of later steps are void. */
  | { readonly kind: 'rewind'; readonly step: number }
  | { readonly kind: 'termOpened'; readonly term: number; readonly step: number; readonly members: readonly Member[] }
  /** Record this before sending it. */
  | {
      readonly kind: 'committed';
      readonly term: number;
      readonly step: number;
      readonly learningRate: number;
      readonly sums: Sums;
      readonly gradNorm: number;
      readonly ranks: readonly { rank: number; sampleFrom: number; sampleCount: number }[];
      /** Whether the next step waits for `proceed`, once this one is applied; otherwise the commit starts it. */
      readonly hold: boolean;
    }
  | { readonly kind: 'startWorker'; readonly worker: string; readonly afterMs: number }
  /** The worker is frozen, or otherwise blocks its replacement. */
  | { readonly kind: 'killWorker'; readonly worker: string }
  /** A description for people: recorded in events.jsonl, and displayed if `show` is set. */
  | { readonly kind: 'event'; readonly event: LoggedEvent; readonly show: boolean }
  /** Open a checkpoint for the stream that `from` is about to send. */
  | {
      readonly kind: 'beginCheckpoint';
      readonly from: string;
      /** The term of the stream, which may continue in a later term. */
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
  /** The checkpoint's sender is lost. */
  | { readonly kind: 'abandonCheckpoint'; readonly step: number }
  | { readonly kind: 'evaluationDone'; readonly step: number; readonly sums: Sums }
  | { readonly kind: 'started'; readonly members: readonly Member[] }
  | { readonly kind: 'finish'; readonly step: number }
  /** A warning for the user that does not end the run. */
  | { readonly kind: 'warn'; readonly message: string; readonly ofStranger?: true }
  | { readonly kind: 'fail'; readonly message: string; readonly blame: 'user' | 'run' };

export interface Decision {
  readonly state: RunState;
  readonly effects: readonly Effect[];
  /** The reason in words; empty if nothing was decided. */
  readonly reason: string;
  /** The end of `reason` that describes the response, after the cause. */
  readonly action?: string;
}
