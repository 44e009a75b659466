/** Observers of a run in progress, which can also end it. */
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import type { RunState } from '../coordinator/core/runState.ts';

/** The state of a run, in addition to the events for its listeners. */
export interface RunView {
  /** Number of updates applied before it started. */
  readonly startStep: number;
  /** Undefined until the coordinator exists. */
  readonly state: () => RunState | undefined;
}

/** A run in progress. */
export interface StartedRun {
  /** The address where it listens for workers; it may stand for every interface. */
  readonly address: string;
  /** The address by which others know this machine, if one was given. */
  readonly advertise: string | undefined;
  readonly isEncrypted: boolean;
  /**
   * Ends the run after the current step, with a checkpoint.
   * @param cause for events.jsonl
   * @param isToContinue whether it will be started again; the workers of other machines are told
   */
  stop(cause?: string, isToContinue?: boolean): void;
  /** Adds a line to events.jsonl about something that does not end the run. */
  note(message: string): void;
  /** Ends the run at once; unwritten state is lost. Resolves when everything is closed. */
  abandon(): Promise<void>;
}

/** Opened when the run has its directory, closed after the run has released everything. */
export interface RunObserver {
  /** Called in this order. */
  readonly listeners: readonly Partial<RunListener>[];
  /** Receives the output of worker processes, line by line; without it they print to the output of this process. */
  readonly onWorkerOutput?: ((line: string) => void) | undefined;
  /** Called once, when the workers of this machine have been started. */
  started(run: StartedRun): void;
  close(): Promise<void>;
}
