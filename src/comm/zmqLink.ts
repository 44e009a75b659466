/**
 * The links of `link.ts` over ZeroMQ on TCP: ROUTER (coordinator, `zmqServer.ts`) and DEALER (worker, `zmqClient.ts`) for control.
 * The ring's sockets are in `zmqLinkRing.ts`. For main threads only, see `zmqSocket.ts`.
 *
 * ```
 *  control message, either way:  [ message ] or [ message | payload ]     (ROUTER adds and takes the peer's id in front)
 *  probe, server to client:      [ (empty) ]                              (the client ignores it)
 * ```
 *
 * With the keys of a run every connection is encrypted and authenticated on both sides by CURVE (docs/decisions/encryption.md).
 */
import { defaultLinkOptions, type LinkOptions, type Transport } from './link.ts';
import type { RingPlace } from './ringPlace.ts';
import type { RunKeys } from './runKeys.ts';
import { connect } from './zmqClient.ts';
import { openZmqRing } from './zmqLinkRing.ts';
import { listen } from './zmqServer.ts';

export interface ZmqOptions extends LinkOptions {
  /** Between processes of one machine, send ring frames through a Unix socket (`unixSocketRing.ts`); default true. */
  localRing: boolean;
  /** Where ring ends listen; its interfaces are for encrypted ones that other machines must reach. */
  ring: RingPlace;
  /** The keys of the run; without them nothing on the wire is encrypted and anyone may connect. `listen` needs the coordinator's. */
  keys: RunKeys | undefined;
}

export function zmqTransport(options: Partial<ZmqOptions> = {}): Transport {
  const defaults = { ...defaultLinkOptions, localRing: true, ring: {}, keys: undefined };
  const { keys, localRing, ring, ...link } = { ...defaults, ...options };
  return {
    listen: (address) => listen(address, keys, link),
    connect: (address, peerId, timeoutMs) =>
      connect(address, peerId, keys, { ...link, connectTimeoutMs: timeoutMs ?? link.connectTimeoutMs }),
    openRing: (host, run) => openZmqRing(host, run, { ...link, localRing, place: ring, encrypted: keys !== undefined }),
  };
}
