/** What executing a run takes, and what comes of it. */
import type { RingPlace } from '../comm/ringPlace.ts';
import type { RunKeys } from '../comm/runKeys.ts';
import type { EvaluatedLoss } from '../coordinator/core/bestEvaluation.ts';
import type { RunMessages } from './messages.ts';
import type { Run } from './prepareRun.ts';
import type { RunObserver, RunView } from './runObserver.ts';
import type { StoredRun } from './storedRun.ts';

export interface ExecuteRunOptions {
  readonly run: Run;
  /** Run the workers in this process, without sockets. */
  readonly singleProcess: boolean;
  readonly encrypt: boolean;
  /** Keys that were made before the run; absent: those of the run directory, or new ones. */
  readonly keys?: RunKeys | undefined;
  /** Where ring ends of local workers may listen, if that is restricted. */
  readonly ring?: RingPlace | undefined;
  /** Address for other workers to join; absent: this machine only. */
  readonly listen?: string | undefined;
  /** The address of this machine for others, `tcp://HOST:PORT`; absent: its own. Port 0: that of `listen`. */
  readonly advertise?: string | undefined;
  /** Maximum number of restarts of local workers. */
  readonly maxRestarts: number;
  /** Cores for the workers of this machine; absent: all that this process may use. */
  readonly cores?: number | undefined;
  /** Whether SIGTERM to a worker makes it leave the run; default true. */
  readonly leavesOnSignal?: boolean | undefined;
  /** Number of steps to record in `trace.json`; absent: none. */
  readonly traceSteps?: number | undefined;
  readonly messages: RunMessages;
  readonly observe: (view: RunView) => Promise<RunObserver>;
  /** Called once this process has claimed the run directory. */
  readonly claimed?: (() => Promise<void>) | undefined;
  /** Called with the outcome or the failure while this process still has the directory; never if it has not, or has lost it. */
  readonly ending?: ((end: RunOutcome | Error) => Promise<void>) | undefined;
}

/** The options, with the place of the run in an object store, if it has one. */
export interface Execution extends ExecuteRunOptions {
  readonly stored: StoredRun | undefined;
}

export interface RunOutcome {
  /** `nothingLeft`: it had come to its last step before. */
  readonly end: 'trained' | 'stopped' | 'nothingLeft';
  /** Number of updates applied. */
  readonly step: number;
  /** Every evaluation of the run, oldest first, including those before a resume. */
  readonly evaluations: readonly EvaluatedLoss[];
}

/** A run with its initial weights. */
export interface Begun {
  readonly run: Run;
  /** A description of the initial weights, unless they are random. */
  readonly begunWith?: string;
}
