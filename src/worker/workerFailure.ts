/** What a worker that fails says of it, alike to the coordinator and to whoever started it: either may hear of it first. */
import { messageOf, PeerError, UserError } from '../base/errors.ts';
import type { WorkerPhase } from '../comm/messageFields.ts';
import type { WorkerFailure } from '../comm/workerMessages.ts';

/** Of the longest message that the protocol takes. */
const messageCharsMost = 60_000;

export function failureOf(error: unknown, step: number, phase: WorkerPhase): WorkerFailure {
  return { step, phase, message: messageOf(error).slice(0, messageCharsMost), blame: blameOf(error) };
}

/** Who is to blame for an error: the user, a peer, or nobody in particular. */
export function blameOf(error: unknown): WorkerFailure['blame'] {
  return error instanceof UserError ? 'user' : error instanceof PeerError ? 'peer' : 'run';
}
