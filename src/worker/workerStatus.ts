/** What a worker is doing: told to the coordinator with each sign of life, and with what failed. */
import type { WorkerPhase } from '../comm/messageFields.ts';

export class WorkerStatus {
  phase: WorkerPhase = 'starting';
  /** Of the step that is trained, or was committed last; 0 before the first. */
  step = 0;
  /** Of the membership; 0 before the first. */
  term = 0;
  readonly #tell: (status: WorkerStatus) => void;

  /** @param tell says the phase to the coordinator */
  constructor(tell: (status: WorkerStatus) => void) {
    this.#tell = tell;
  }

  /** Begins a phase that the coordinator cannot know from the other messages of a step (decide.ts). */
  enter(phase: WorkerPhase): void {
    this.phase = phase;
    this.#tell(this);
  }
}
