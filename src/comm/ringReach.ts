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

/**
 * The host at which a worker reaches its coordinator. Its name may be unknown for a while, so the last answer is kept: it is still true
 * if only the name server is at fault.
 */
export class CoordinatorHost {
  readonly address: string;
  readonly #resolve: typeof resolveHosts;
  #known: readonly string[] | undefined;

  constructor(address: string, resolve = resolveHosts) {
    this.address = address;
    this.#resolve = resolve;
  }

  /** Its numeric addresses. @throws UnreachableError if its name is unknown and always was */
  async resolved(): Promise<readonly string[]> {
    try {
      this.#known = await this.#resolve(parseTcpAddress(this.address).host);
    } catch (error) {
      if (this.#known === undefined) throw error;
    }
    return this.#known;
  }
}

/** How a worker reaches its coordinator. */
export interface RingRun {
  /** The address at which the worker reaches it. */
  readonly coordinatorAddress: string;
  /** Whether the worker is on the coordinator's machine, so that both are reached at the same host. */
  readonly isBeside: boolean;
}

/**
 * The addresses offered by a ring end that listens on `bound`.
 * @param isBeside whether it listens where the coordinator does
 * @param facing the address of this machine that faces the coordinator
 */
export function offeredAddresses(
  bound: string,
  { isBeside, facing }: { readonly isBeside: boolean; readonly facing: string | undefined },
  interfaces?: Interfaces,
): string[] {
  const { host, port } = parseTcpAddress(bound);
  const isReachedAtFacing = facing !== undefined && (host === '::' || (host === '0.0.0.0' && !isIPv6(facing)));
  const first = [
    ...(isBeside ? [formatTcpAddress({ host: '*', port })] : []),
    ...(isReachedAtFacing ? [formatTcpAddress({ host: withoutZone(facing), port })] : []),
  ];
  return [...new Set([...first, ...addressesFromElsewhere(bound, interfaces)])];
}

/**
 * The addresses of the next rank to try, in order. Empty only if the next rank offers only the coordinator's host, whose name was never
 * known here.
 * @param ownHostId of the machine that asks
 * @param coordinator absent where there is none
 */
export async function addressesToTry(
  { tcp, hostId }: RingAddress,
  ownHostId: string | undefined,
  coordinator: CoordinatorHost | undefined,
  interfaces?: Interfaces,
): Promise<string[]> {
  const hosts: { host: string; port: number }[] = [];
  for (const address of tcp) {
    const { host, port } = parseTcpAddress(address);
    if (host !== '*') hosts.push({ host, port });
    else if (coordinator !== undefined) {
      // The other addresses are tried anyway.
      const named = await coordinator.resolved().catch(() => []);
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
