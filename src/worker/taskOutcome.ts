/**
 * Transfers a task's result from the compute thread. Lockstep's errors keep their class, which the structured clone of an Error
 * would lose.
 */
import { fullMessageOf, PeerError, UserError } from '../base/errors.ts';
import type { WorkerFailure } from '../comm/workerMessages.ts';
import { blameOf } from './workerFailure.ts';

export type TaskOutcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly blame: WorkerFailure['blame']; readonly message: string; readonly stack: string };

/** Runs a task and wraps its result or its error. */
export async function outcomeOf<T>(task: () => Promise<T>): Promise<TaskOutcome<T>> {
  try {
    return { ok: true, value: await task() };
  } catch (error) {
    const stack = error instanceof Error ? (error.stack ?? '') : '';
    return { ok: false, blame: blameOf(error), message: fullMessageOf(error), stack };
  }
}

/** The value, or throws the error again with its class. */
export function unwrap<T>(outcome: TaskOutcome<T>): T {
  if (outcome.ok) return outcome.value;
  const { blame, message, stack } = outcome;
  if (blame === 'user') throw new UserError(message);
  if (blame === 'peer') throw new PeerError(message);
  const error = new Error(message);
  error.stack = stack;
  throw error;
}
