/** Who is to blame for an error, as a failed worker reports it: the user, a peer, or nobody in particular. */
import { PeerError, UserError } from '../base/errors.ts';
import type { WorkerMessageOf } from '../comm/protocol.ts';

export type Blame = WorkerMessageOf<'failed'>['blame'];

export function blameOf(error: unknown): Blame {
  return error instanceof UserError ? 'user' : error instanceof PeerError ? 'peer' : 'run';
}
