/**
 * Checks that a joining worker has the run's token (`comm/runKeys.ts`). In an encrypted run ZeroMQ has already checked its key. The
 * token is a second line of defence, for traffic that arrives through a proxy that may connect but must not join.
 */
import { timingSafeEqual } from 'node:crypto';
import { protocolVersion } from '../comm/protocol.ts';
import type { WorkerMessageOf } from '../comm/workerMessages.ts';

/**
 * The reason to refuse a join for its token; undefined if the token is right.
 * @param token the run's; without one every worker may join
 */
export function tokenRefusal(join: WorkerMessageOf<'join'>, token: string | undefined): string | undefined {
  // A worker of another protocol version may have no token; it is refused because of its version.
  if (token === undefined || join.protocolVersion !== protocolVersion) return undefined;
  if (join.token === undefined) return "expected the run's token, received none: join with the key file of this run";
  const shown = Buffer.from(join.token);
  const wanted = Buffer.from(token);
  if (shown.byteLength === wanted.byteLength && timingSafeEqual(shown, wanted)) return undefined;
  return 'expected the token of this run, received another: join with the key file of this run';
}
