/**
 * Addresses of the form `tcp://HOST:PORT`: parsing, name resolution, and at which of them a machine can be reached.
 * An address that is wrong in itself is the user's error and is reported with what to write instead.
 */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { messageOf, PeerError, UserError } from '../base/errors.ts';
import { externalAddresses, type Interfaces, ownAddresses } from '../base/localAddresses.ts';

/** Nothing answers at an address, or its host name is not known at the moment: another attempt may find something. */
export class UnreachableError extends PeerError {
  /** In a few words: `nothing answers`. */
  readonly why: string;

  constructor(message: string, why: string) {
    super(message);
    this.why = why;
  }
}

export interface TcpAddress {
  /**
   * Without brackets, if it is an IPv6 address. Every interface: `0.0.0.0` (IPv4), `::` (IPv6 and IPv4), `*` (both, where the machine
   * has both).
   */
  readonly host: string;
  /** 0: let the system choose (`listen` only). */
  readonly port: number;
}

/** @throws UserError unless `text` is `tcp://HOST:PORT` */
export function parseTcpAddress(text: string): TcpAddress {
  const address = addressIn(text);
  if (address !== undefined) return address;
  const whole = `tcp://${text}`;
  const hint = addressIn(whole) === undefined ? '' : ` Put tcp:// before it: ${whole}`;
  throw new UserError(
    `expected an address like tcp://127.0.0.1:5555 or tcp://[::1]:5555, received ${JSON.stringify(text.slice(0, 200))}.${hint}`,
  );
}

function addressIn(text: string): TcpAddress | undefined {
  const match = /^tcp:\/\/(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^:[\]/,\s]+)):(\d{1,5}|\*)$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === '*' ? 0 : Number(match?.[3]);
  return host === undefined || !(port <= 65535) ? undefined : { host, port };
}

export function formatTcpAddress({ host, port }: TcpAddress): string {
  return `tcp://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

export function isEveryInterface(host: string): boolean {
  return host === '*' || host === '0.0.0.0' || host === '::';
}

/**
 * The numeric addresses of a host name, IPv4 first. ZeroMQ would look it up too, but could not say that it is unknown.
 * @throws UnreachableError if it is unknown: a name server may not answer for a while, or may not have a host yet that has just started
 */
export async function resolveHosts(host: string): Promise<string[]> {
  // A name server knows nothing of the interface behind the `%`.
  if (isIPv6(host)) return [host];
  try {
    return (await lookup(host, { order: 'ipv4first', all: true })).map(({ address }) => address);
  } catch (error) {
    throw new UnreachableError(
      `The host "${host}" is not known here (${messageOf(error)}). Write its IP address instead.`,
      'its name is not known here',
    );
  }
}

/** What to bind to. @throws UserError if the host is unknown */
export async function listeningHost(host: string): Promise<string> {
  if (host === '*') return ownAddresses().some((address) => isIPv6(address)) ? '::' : '0.0.0.0';
  const [first = host] = await ownHosts(host);
  return first;
}

/** Whether `address`, to listen on, can be reached from this machine only. @throws UserError if its host is unknown */
export async function isLoopback(address: string): Promise<boolean> {
  const { host } = parseTcpAddress(address);
  if (isEveryInterface(host)) return false;
  return (await ownHosts(host)).every(isLoopbackHost);
}

/** Like `resolveHosts`, for a name of this machine. @throws UserError if it is unknown: a machine that does not know its own was given a wrong one */
export async function ownHosts(host: string): Promise<string[]> {
  try {
    return await resolveHosts(host);
  } catch (error) {
    throw new UserError(messageOf(error), { cause: error });
  }
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Also for an IPv4 address that is written as one of IPv6: `::ffff:127.0.0.1`. */
export function isLoopbackHost(host: string): boolean {
  if (host.startsWith('127.')) return true;
  return isIP(host) === 6 && loopback.check(host.replace(/%.*/, ''), 'ipv6');
}

/** Where a process of this machine reaches what listens on `bound`. */
export function addressFromHere(bound: string): string {
  const { host, port } = parseTcpAddress(bound);
  return isEveryInterface(host) ? formatTcpAddress({ host: '127.0.0.1', port }) : bound;
}

/** Where other machines may reach what listens on `bound`, the likeliest first; only loopback where there is no other. */
export function addressesFromElsewhere(bound: string, interfaces?: Interfaces): string[] {
  const { host, port } = parseTcpAddress(bound);
  if (!isEveryInterface(host)) return [bound];
  const external = externalAddresses(interfaces).filter((address) => host !== '0.0.0.0' || !isIPv6(address));
  return (external.length > 0 ? external : ['127.0.0.1']).map((address) => formatTcpAddress({ host: address, port }));
}

/**
 * Where others join what listens on `bound`, the likeliest first: at the address that was given for them, if one was.
 * @param advertise port 0: that of `bound`
 */
export function joinAddresses(bound: string, advertise: string | undefined): string[] {
  if (advertise === undefined) return addressesFromElsewhere(bound);
  const { host, port } = parseTcpAddress(advertise);
  return [formatTcpAddress({ host, port: port === 0 ? parseTcpAddress(bound).port : port })];
}

/** Whether who looks for a coordinator at `wanted`, an address of this machine, reaches one that listens on `bound`. */
export function covers(bound: string, wanted: string): boolean {
  if (bound === wanted) return true;
  if (!bound.startsWith('tcp:') || !wanted.startsWith('tcp:')) return false;
  const [own, other] = [parseTcpAddress(bound), parseTcpAddress(wanted)];
  return own.port === other.port && (own.host === '::' || (own.host === '0.0.0.0' && !isIPv6(other.host)));
}

/**
 * The source address that the system's routes choose for packets to one of these hosts. Sends nothing.
 * @param address for messages
 * @throws UnreachableError if no route leads to any of them
 */
export async function hostFacing(hosts: readonly string[], address: string): Promise<string> {
  const { port } = parseTcpAddress(address);
  let failure: unknown;
  for (const remote of hosts) {
    const socket = createSocket(isIPv6(remote) ? 'udp6' : 'udp4');
    try {
      return await new Promise<string>((resolve, reject) => {
        socket.once('error', reject);
        socket.connect(port === 0 ? 1 : port, remote, () => resolve(socket.address().address));
      });
    } catch (error) {
      failure = error;
    } finally {
      socket.close();
    }
  }
  throw new UnreachableError(`This machine has no route to ${address} (${messageOf(failure)}).`, 'no route to it');
}
