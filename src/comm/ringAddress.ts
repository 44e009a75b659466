/**
 * The address of a rank's ring end: where it listens, on which machine, and by which key it is known.
 *
 * ```
 *  tcp://HOST:PORT  tcp://HOST:PORT/HOST-ID  tcp://HOST:PORT//KEY  tcp://HOST:PORT/HOST-ID/KEY      KEY: 64 hex digits
 * ```
 */
import { PeerError } from '../base/errors.ts';
import { parseTcpAddress } from './linkAddress.ts';
import { hexOfKey, keyOfHex } from './z85.ts';

export interface RingAddress {
  /** `tcp://HOST:PORT` */
  readonly tcp: string;
  /** Equal ids mean the same machine; absent where the local path is not to be used. */
  readonly hostId: string | undefined;
  /** The public key, in Z85; absent without encryption. */
  readonly publicKey: string | undefined;
}

export function formatRingAddress({ tcp, hostId, publicKey }: RingAddress): string {
  const key = publicKey === undefined ? '' : `/${hexOfKey(publicKey)}`;
  return hostId === undefined && key === '' ? tcp : `${tcp}/${hostId ?? ''}${key}`;
}

/** @throws PeerError if it is no address of a ring: it was another rank that named it */
export function parseRingAddress(text: string): RingAddress {
  const [, tcp = '', hostId, key] = /^(tcp:\/\/[^/]+)(?:\/([^/]*)(?:\/([0-9a-f]{64}))?)?$/.exec(text) ?? [];
  try {
    parseTcpAddress(tcp);
  } catch {
    throw new PeerError(`expected a ring address like tcp://HOST:PORT/HOST-ID/KEY, received "${text.slice(0, 200)}"`);
  }
  return { tcp, hostId: hostId || undefined, publicKey: key === undefined ? undefined : keyOfHex(key) };
}
