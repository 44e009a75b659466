/**
 * Whether who asks to join shows the token of the run (`comm/runKeys.ts`). In an encrypted run ZeroMQ has checked its key before; the
 * token stands behind it, where the traffic came through something that is allowed to connect and should not join.
 */
import { timingSafeEqual } from 'node:crypto';
import { protocolVersion } from '../comm/protocol.ts';
import type { WorkerMessageOf } from '../comm/workerMessages.ts';

/**
 * Why a join is refused for its token; undefined if it is not.
 * @param token the run's; without one everybody may join
 */
export function tokenRefusal(join: WorkerMessageOf<'join'>, token: string | undefined): string | undefined {
  // A worker of another protocol version may have no token to show: it is refused for its version.
  if (token === undefined || join.protocolVersion !== protocolVersion) return undefined;
  if (join.token === undefined) return "expected the run's token, received none: join with the key file of this run";
  const shown = Buffer.from(join.token);
  const wanted = Buffer.from(token);
  if (shown.byteLength === wanted.byteLength && timingSafeEqual(shown, wanted)) return undefined;
  return 'expected the token of this run, received another: join with the key file of this run';
}
