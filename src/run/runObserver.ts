/** Who looks at a run while it goes on, and may end it. */
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import type { RunState } from '../coordinator/core/runState.ts';

/** What can be seen of a run besides what its listeners are told. */
export interface RunView {
  /** Updates applied before it began. */
  readonly startStep: number;
  /** Undefined until the coordinator is there. */
  readonly state: () => RunState | undefined;
}

/** A run that is going on. */
export interface StartedRun {
  /** Where workers join. */
  readonly address: string;
  readonly isEncrypted: boolean;
  /** Ends it in order: the step in progress, a checkpoint. Without effect after the first time. @param cause for events.jsonl */
  stop(cause?: string): void;
  /** A line for events.jsonl, of something that does not end the run. */
  note(message: string): void;
  /** Ends it at once; what was not written is lost. Resolves when nothing is left of it. */
  abandon(): Promise<void>;
}

/** Opened when the run has its directory, closed when nothing of the run is left. */
export interface RunObserver {
  /** Told in order. */
  readonly listeners: readonly Partial<RunListener>[];
  /** Takes what worker processes print, line by line; without it they print where this process does. */
  readonly onWorkerOutput?: ((line: string) => void) | undefined;
  /** Called once, when the workers of this machine have been started. */
  started(run: StartedRun): void;
  close(): Promise<void>;
}
