/** A worker's report of its failure, the same for the coordinator and for the process that started it: either may get it first. */
import { fullMessageOf, PeerError, UserError } from '../base/errors.ts';
import type { WorkerPhase } from '../comm/messageFields.ts';
import type { WorkerFailure } from '../comm/workerMessages.ts';

/** Maximum length of a message in the protocol. */
const messageCharsMost = 60_000;

export function failureOf(error: unknown, step: number, phase: WorkerPhase): WorkerFailure {
  return { step, phase, message: fullMessageOf(error).slice(0, messageCharsMost), blame: blameOf(error) };
}

/** The origin of an error: the user, a peer, or the run itself. */
export function blameOf(error: unknown): WorkerFailure['blame'] {
  return error instanceof UserError ? 'user' : error instanceof PeerError ? 'peer' : 'run';
}
