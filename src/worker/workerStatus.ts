/** A worker's activity, reported to the coordinator with each heartbeat and with each failure. */
import type { WorkerPhase } from '../comm/messageFields.ts';

export class WorkerStatus {
  phase: WorkerPhase = 'starting';
  /** The step being trained, or the last committed one; 0 before the first. */
  step = 0;
  /** The term of the membership; 0 before the first. */
  term = 0;
  readonly #tell: (status: WorkerStatus) => void;

  /** @param tell reports the phase to the coordinator */
  constructor(tell: (status: WorkerStatus) => void) {
    this.#tell = tell;
  }

  /** Begins a phase that the coordinator cannot infer from a step's other messages (decide.ts). */
  enter(phase: WorkerPhase): void {
    this.phase = phase;
    this.#tell(this);
  }
}
