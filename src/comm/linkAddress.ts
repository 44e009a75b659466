/**
 * Addresses of the form `tcp://HOST:PORT`: parsing, name resolution, and which of this machine's addresses faces another.
 * Everything that is wrong with an address is the user's error and is reported with what to write instead.
 */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import { messageOf, UserError } from '../base/errors.ts';

export interface TcpAddress {
  /** Without brackets, if it is an IPv6 address; `*` or `0.0.0.0` means every interface. */
  readonly host: string;
  /** 0: let the system choose (`listen` only). */
  readonly port: number;
}

/** @throws UserError unless `text` is `tcp://HOST:PORT` */
export function parseTcpAddress(text: string): TcpAddress {
  const match = /^tcp:\/\/(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]/\s]+)):(\d{1,5}|\*)$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === '*' ? 0 : Number(match?.[3]);
  if (host === undefined || !(port <= 65535)) {
    throw new UserError(
      `Expected an address like tcp://127.0.0.1:5555 (port 0: any free port), but received "${text}".`,
    );
  }
  return { host, port };
}

export function formatTcpAddress({ host, port }: TcpAddress): string {
  return `tcp://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

export function isEveryInterface(host: string): boolean {
  return host === '*' || host === '0.0.0.0' || host === '::';
}

/** The numeric address of a host name. ZeroMQ would look it up too, but could not say that it is unknown. */
export async function resolveHost(host: string): Promise<string> {
  if (host === '*') return '0.0.0.0';
  try {
    return (await lookup(host, { order: 'ipv4first' })).address;
  } catch (error) {
    throw new UserError(`The host "${host}" is not known here (${messageOf(error)}). Write its IP address instead.`);
  }
}

/** Whether `address` can be reached from this machine only. */
export async function isLoopback(address: string): Promise<boolean> {
  const host = await resolveHost(parseTcpAddress(address).host);
  return host === '::1' || host.startsWith('127.');
}

/** What to tell others to connect to when bound to every interface: the first address that is not loopback, if any. */
export function firstExternalHost(): string {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return all.find((entry) => entry.family === 'IPv4' && !entry.internal)?.address ?? '127.0.0.1';
}

/** The source address that the system's routes choose for packets to `address`. Sends nothing. */
export async function hostFacing(address: string): Promise<string> {
  const { host, port } = parseTcpAddress(address);
  const remote = await resolveHost(host);
  const socket = createSocket(remote.includes(':') ? 'udp6' : 'udp4');
  try {
    return await new Promise<string>((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(port === 0 ? 1 : port, remote, () => resolve(socket.address().address));
    });
  } catch (error) {
    throw new UserError(`This machine has no route to ${address} (${messageOf(error)}).`);
  } finally {
    socket.close();
  }
}
