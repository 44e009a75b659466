/** At which addresses a ring end says that it can be reached, and which of them another rank tries. */
import { isIPv6 } from 'node:net';
import { type Interfaces, isLinkLocal, linkLocalZones, ownAddresses } from '../base/localAddresses.ts';
import {
  addressesFromElsewhere,
  formatTcpAddress,
  isLoopbackHost,
  parseTcpAddress,
  resolveHosts,
} from './linkAddress.ts';
import type { RingAddress } from './ringAddress.ts';

/** How a worker comes to its coordinator. */
export interface RingRun {
  /** Where the worker reaches it. */
  readonly coordinatorAddress: string;
  /** Whether the worker is on the coordinator's machine: who reaches the one at some host reaches the other there. */
  readonly isBeside: boolean;
}

/**
 * What a ring end offers that listens on `bound`.
 * @param run how its worker comes to the coordinator
 * @param facing the address of this machine that faces the coordinator
 */
export function offeredAddresses(
  bound: string,
  run: RingRun | undefined,
  facing: string | undefined,
  interfaces?: Interfaces,
): string[] {
  const { host, port } = parseTcpAddress(bound);
  const isReachedAtFacing = facing !== undefined && (host === '::' || (host === '0.0.0.0' && !isIPv6(facing)));
  const first = [
    ...(run?.isBeside ? [formatTcpAddress({ host: '*', port })] : []),
    ...(isReachedAtFacing ? [formatTcpAddress({ host: withoutZone(facing), port })] : []),
  ];
  return [...new Set([...first, ...addressesFromElsewhere(bound, interfaces)])];
}

/**
 * Which addresses of the next rank to try, in this order. None only where the next rank offers nothing but the coordinator's host, and
 * that has a name which is not known at the moment.
 * @param ownHostId of the machine that asks
 */
export async function addressesToTry(
  { tcp, hostId }: RingAddress,
  ownHostId: string | undefined,
  run: RingRun | undefined,
  interfaces?: Interfaces,
): Promise<string[]> {
  const hosts: { host: string; port: number }[] = [];
  for (const address of tcp) {
    const { host, port } = parseTcpAddress(address);
    if (host !== '*') hosts.push({ host, port });
    else if (run !== undefined) {
      // Its name may not be known for a while; the other addresses are tried all the same.
      const named = await resolveHosts(parseTcpAddress(run.coordinatorAddress).host).catch(() => []);
      hosts.push(...named.map((found) => ({ host: found, port })));
    }
  }
  const all = hosts.flatMap(({ host, port }) => {
    const needsZone = isLinkLocal(host) && !host.includes('%');
    const zoned = needsZone ? linkLocalZones(interfaces).map((zone) => `${host}%${zone}`) : [host];
    return zoned.map((found) => formatTcpAddress({ host: found, port }));
  });
  const distinct = [...new Set(all)];
  // An address of this machine leads nowhere else: a bridge for containers has the same one everywhere.
  const own = new Set(ownAddresses(interfaces));
  const isElsewhere = (address: string) => {
    const { host } = parseTcpAddress(address);
    return !own.has(host) && !isLoopbackHost(host);
  };
  const others = hostId === undefined || hostId === ownHostId ? distinct : distinct.filter(isElsewhere);
  return others.length > 0 ? others : distinct;
}

function withoutZone(host: string): string {
  return host.replace(/%.*/, '');
}
