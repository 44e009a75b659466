/** How a run ended for its workers. A worker process tells the process that started it by its exit code. */
import { interruptedExitCode, unfinishedExitCode } from '../base/errors.ts';
import type { CoordinatorMessageOf } from '../comm/coordinatorMessages.ts';

/**
 * `complete`: nothing is left, for this worker at least. `unfinished`: a scheduler ended the run before its last step, to start it again;
 * `interrupted`: a person did. `failed`: not because of this worker.
 */
export type RunEnd = 'complete' | 'unfinished' | 'interrupted' | 'failed';

const exitCodes: Readonly<Record<RunEnd, number>> = {
  complete: 0,
  unfinished: unfinishedExitCode,
  interrupted: interruptedExitCode,
  // A code that neither Node nor a shell uses.
  failed: 86,
};

/** The gravest last. */
const byGravity: readonly RunEnd[] = ['complete', 'unfinished', 'interrupted', 'failed'];

/** The end of a run for workers that ended so: one of them may have left before, for which its run is complete. */
export function graver(one: RunEnd | undefined, other: RunEnd | undefined): RunEnd | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return byGravity.indexOf(one) > byGravity.indexOf(other) ? one : other;
}

/** What the coordinator said. */
export function runEndOf({ failed, unfinished, interrupted }: CoordinatorMessageOf<'stop'>): RunEnd {
  if (failed) return 'failed';
  if (unfinished) return 'unfinished';
  return interrupted ? 'interrupted' : 'complete';
}

/** The code of a worker that somebody asked to leave: the run continues. Neither Node nor a shell uses it. */
const leftExitCode = 87;

/** What the exit code of a worker stands for. */
export interface WorkerEnd {
  /** How its run ended; undefined if the worker itself failed. */
  readonly runEnd: RunEnd | undefined;
  /** It was asked to leave, and the run continues without it. */
  readonly hasLeft: boolean;
}

/**
 * The exit code of a worker.
 * @param end of its run
 * @param isLeaving whether somebody asked it to leave: the end of the run may have come first
 */
export function codeOfEnd(end: RunEnd, isLeaving: boolean): number {
  return isLeaving && end === 'complete' ? leftExitCode : exitCodes[end];
}

/** What such an exit code stands for. */
export function endOfCode(code: number | null): WorkerEnd {
  if (code === leftExitCode) return { runEnd: 'complete', hasLeft: true };
  const runEnd = (Object.keys(exitCodes) as RunEnd[]).find((end) => exitCodes[end] === code);
  return { runEnd, hasLeft: false };
}
