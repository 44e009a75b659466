/**
 * The address of a rank's ring end: where it may be reached, on which machine it is, and by which key it is known. A machine has several
 * addresses, and which of them another one reaches only that one can find out: so all of them are named, the likeliest first.
 *
 * ```
 *  ADDRESSES  ADDRESSES/HOST-ID  ADDRESSES//KEY  ADDRESSES/HOST-ID/KEY
 *  ADDRESSES: tcp://HOST:PORT,tcp://[HOST]:PORT,…       KEY: 64 hex digits       HOST `*`: where the reader reaches the coordinator
 * ```
 */
import { PeerError } from '../base/errors.ts';
import { parseTcpAddress } from './linkAddress.ts';
import { hexOfKey, keyOfHex } from './z85.ts';

/** Addresses that a ring end may have. */
export const ringAddressesMax = 8;

/** Characters of the longest address of a ring end. */
export const ringAddressLengthMax = 1_024;

export interface RingAddress {
  /** Each `tcp://HOST:PORT`; one at least. */
  readonly tcp: readonly string[];
  /** Equal ids mean the same machine; absent where the local path is not to be used. */
  readonly hostId: string | undefined;
  /** The public key, in Z85; absent without encryption. */
  readonly publicKey: string | undefined;
}

export function formatRingAddress({ tcp, hostId, publicKey }: RingAddress): string {
  const key = publicKey === undefined ? '' : `/${hexOfKey(publicKey)}`;
  const addresses = tcp.slice(0, ringAddressesMax).join(',');
  return hostId === undefined && key === '' ? addresses : `${addresses}/${hostId ?? ''}${key}`;
}

/** @throws PeerError if it is not an address of a ring; another rank named it */
export function parseRingAddress(text: string): RingAddress {
  const [, addresses = '', hostId, key] =
    /^(tcp:\/\/[^/]+(?:,tcp:\/\/[^/]+)*)(?:\/([^/]*)(?:\/([0-9a-f]{64}))?)?$/.exec(text) ?? [];
  const tcp = addresses.split(',');
  try {
    for (const address of tcp) parseTcpAddress(address);
    if (tcp.length > ringAddressesMax) throw new RangeError(`${tcp.length} addresses`);
  } catch {
    throw new PeerError(`expected a ring address like tcp://HOST:PORT/HOST-ID/KEY, received "${text.slice(0, 200)}"`);
  }
  return { tcp, hostId: hostId || undefined, publicKey: key === undefined ? undefined : keyOfHex(key) };
}
