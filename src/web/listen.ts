/** Where a server of this package listens, and the address to open. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { hostname } from 'node:os';
import { errorCode, messageOf, UserError } from '../base/errors.ts';
import { externalAddresses } from '../base/localAddresses.ts';

export interface ListenOptions {
  /** An address of this machine. */
  readonly host: string;
  /** 0: the system chooses a free port. */
  readonly port: number;
}

export interface Urls {
  /** The address to open on this machine, with the token if there is one. */
  readonly here: string;
  /** The address to open on another machine, if it differs: undefined unless the server listens on all addresses. */
  readonly elsewhere: string | undefined;
}

/**
 * Starts listening.
 * @param what the server, for messages: `the dashboard`
 * @throws UserError if the port is taken or this machine does not have the address
 */
export async function listen(server: Server, what: string, { host, port }: ListenOptions): Promise<void> {
  try {
    server.listen({ host, port });
    await once(server, 'listening');
  } catch (error) {
    const where = `${host}:${port}`;
    if (errorCode(error) === 'EADDRINUSE') {
      throw new UserError(`${what}'s port is taken: another program listens on ${where}; choose another, or 0 for any`);
    }
    if (errorCode(error) === 'EADDRNOTAVAIL' || errorCode(error) === 'ENOTFOUND' || errorCode(error) === 'EACCES') {
      throw new UserError(`${what} cannot listen on ${where}: ${messageOf(error)}`);
    }
    throw error;
  }
}

/** A new token for a server that other machines can reach; undefined on loopback, where none is needed. */
export function tokenFor(host: string): string | undefined {
  return isLoopback(host) ? undefined : randomBytes(18).toString('base64url');
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

/** The addresses of a listening server. */
export function urlsOf(server: Server, token: string | undefined): Urls {
  const { address, port } = server.address() as AddressInfo;
  const urlAt = (name: string): string => {
    const host = isIPv6(name) ? `[${name}]` : name;
    return `http://${host}:${port}/${token === undefined ? '' : `?token=${token}`}`;
  };
  return {
    here: urlAt({ '0.0.0.0': '127.0.0.1', '::': '::1' }[address] ?? address),
    elsewhere: address === '0.0.0.0' || address === '::' ? urlAt(externalHost(address)) : undefined,
  };
}

/** How other machines can reach this one: its likeliest address, or its name, which not every network resolves. */
function externalHost(bound: string): string {
  const isReached = (address: string) => bound === '::' || !isIPv6(address);
  return externalAddresses().find(isReached) ?? hostname();
}
