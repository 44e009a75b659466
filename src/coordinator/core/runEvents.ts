/** What can happen to a run, for the decision core (decide.ts). Plain data only. */
import type { ReportMessage } from '../../comm/hostReports.ts';
import type { WorkerFailure, WorkerMessage, WorkerMessageOf } from '../../comm/workerMessages.ts';

export type LossEvent =
  /** The connection of a worker from another machine, or of an unknown peer, is lost. */
  | { readonly kind: 'peerGone'; readonly id: string; readonly reason: string }
  /** A worker started by this machine has ended. */
  | {
      readonly kind: 'workerExited';
      /** Its name. */
      readonly worker: string;
      readonly pid: number;
      /** Completes "rank 1 …". */
      readonly description: string;
      /** The failure it reported to this machine, possibly before its own message of it. */
      readonly failure?: WorkerFailure;
      /** It ended as intended. */
      readonly clean: boolean;
    };

/** A report that a worker has sent. */
export interface Report {
  /** Its connection. */
  readonly from: string;
  readonly message: ReportMessage;
}

export type RunEvent =
  | { readonly kind: 'message'; readonly from: string; readonly message: WorkerMessage }
  /** Messages of one kind, each of another worker of one host. */
  | { readonly kind: 'reports'; readonly reports: readonly Report[] }
  /** Invalid data received; `problem` says why it is invalid. */
  | { readonly kind: 'malformed'; readonly from: string; readonly problem: string }
  /** A worker cannot take part, for example because nobody can use what it has computed; then `lease` says what that was. */
  | {
      readonly kind: 'unfit';
      readonly from: string;
      readonly problem: string;
      readonly lease?: Pick<WorkerMessageOf<'rolledOut'>, 'term' | 'step' | 'iteration' | 'part'>;
    }
  | LossEvent
  /** Several that became known together: one term follows from them. */
  | { readonly kind: 'losses'; readonly losses: readonly LossEvent[] }
  | { readonly kind: 'checkpointWritten'; readonly step: number }
  | { readonly kind: 'checkpointFailed'; readonly step: number }
  /** The rollouts of an iteration are on disk, made by the state of this step and term. */
  | {
      readonly kind: 'rolloutsWritten';
      readonly iteration: number;
      readonly step: number;
      readonly committedTerm: number;
      readonly sha256: string;
      /** Mean KL divergence from the reference. */
      readonly kl: number;
    }
  /** They cannot be rewarded or written. */
  | {
      readonly kind: 'rolloutsFailed';
      readonly iteration: number;
      readonly step: number;
      readonly committedTerm: number;
      readonly message: string;
      readonly blame: 'user' | 'run';
    }
  | { readonly kind: 'stopRequested'; readonly isToContinue?: boolean }
  | { readonly kind: 'tick' };
