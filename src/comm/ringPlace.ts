/** Where the ring ends of this machine's workers may listen, if a firewall or a second network leaves no free choice. */
import type * as zmq from 'zeromq';
import { errorCode, UserError } from '../base/errors.ts';
import { type Interfaces, interfaceAddresses } from '../base/localAddresses.ts';
import { formatTcpAddress } from './linkAddress.ts';
import { bindTcp } from './zmqSocket.ts';

/** Ports of a range, both ends included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export interface RingPlace {
  /** Absent: any free port. */
  readonly ports?: PortRange | undefined;
  /** Names of network interfaces, of which the first that this machine has is used. Absent: see `openRing` of a transport. */
  readonly interfaces?: readonly string[] | undefined;
}

/** @throws UserError unless `text` is `A-B`, or one port */
export function parsePortRange(text: string): PortRange {
  const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  const range = { first: Number(first), last: Number(last) };
  if (range.first >= 1 && range.first <= range.last && range.last <= 65_535) return range;
  throw new UserError(`--ring-ports: expected a range of ports like 6000-6015, received ${JSON.stringify(text)}`);
}

export function portsOf({ first, last }: PortRange): number {
  return last - first + 1;
}

/** The address of the first of these interfaces that this machine has. @throws UserError if it has none, or that has no address */
export function addressOfInterface(names: readonly string[], interfaces?: Interfaces): string {
  const all = interfaceAddresses(interfaces);
  const name = names.find((wanted) => all.has(wanted));
  const wanted = `LOCKSTEP_IFNAME=${names.join(',')}`;
  if (name === undefined) {
    throw new UserError(
      `${wanted}: this machine has no such network interface with an address. It has ${[...all.keys()].join(', ')}.`,
    );
  }
  const [address] = all.get(name)!;
  if (address === undefined) throw new UserError(`${wanted}: ${name} has only link-local addresses: choose another.`);
  return address;
}

/** Binds to a free port, in the range if there is one. @returns what the socket is bound to @throws UserError if no port is free */
export async function bindRing(socket: zmq.Socket, host: string, ports: PortRange | undefined): Promise<string> {
  if (ports === undefined) return await bindTcp(socket, formatTcpAddress({ host, port: 0 }));
  for (let port = ports.first; port <= ports.last; port++) {
    try {
      return await bindTcp(socket, formatTcpAddress({ host, port }));
    } catch (error) {
      if (errorCode((error as Error).cause) !== 'EADDRINUSE') throw error;
    }
  }
  throw new UserError(
    `--ring-ports ${ports.first}-${ports.last}: all of these ports are in use on this machine, and each worker needs one. Choose a wider range.`,
  );
}
