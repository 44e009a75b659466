/** The addresses that a ring end offers, and those that another rank tries. */
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

/** How a worker reaches its coordinator. */
export interface RingRun {
  /** The address at which the worker reaches it. */
  readonly coordinatorAddress: string;
  /** Whether the worker is on the coordinator's machine, so that both are reached at the same host. */
  readonly isBeside: boolean;
}

/**
 * The addresses offered by a ring end that listens on `bound`.
 * @param run how its worker reaches the coordinator
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
 * The addresses of the next rank to try, in order. Empty only if the next rank offers only the coordinator's host, whose name cannot be
 * resolved at the moment.
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
      // The name may not resolve for a while; the other addresses are tried anyway.
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
  // An address that this machine has too does not lead to another one: container bridges have the same address everywhere.
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
