/** The machines of `launch cluster --hosts a:2,b:2`, or of a host file as Open MPI and DeepSpeed have it. */
import { hostname } from 'node:os';
import { UserError } from '../base/errors.ts';
import { ownAddresses } from '../base/localAddresses.ts';
import { isLoopbackHost, ownHosts } from '../comm/linkAddress.ts';

export interface Host {
  /** A name or an address, IPv6 without brackets; also a `Host` of the user's ssh configuration. */
  readonly host: string;
  /** What `ssh` is given: `user@host`. */
  readonly target: string;
  /** Number of workers, at least 1. */
  readonly workers: number;
}

const workersMax = 1024;
const hostsMax = 4096;

/** Names never begin with a hyphen, which ssh would take for an option. */
const pattern = /^(?:([A-Za-z0-9_][\w.-]*)@)?(?:\[([0-9A-Fa-f:]+(?:%[\w.-]+)?)\]|([A-Za-z0-9][\w.-]*))(?::(\d{1,4}))?$/;

/** @param text `a:2,user@b,[fd00::1]:2`; without a number: one worker. @throws UserError */
export function parseHosts(text: string): Host[] {
  const words = text.split(',').map((word) => word.trim());
  return checked(
    words.map((word) => parseHost(word, '--hosts')),
    '--hosts',
  );
}

/** @param text lines such as `a`, `a:2`, `a slots=2` and comments after `#`. @param path for errors. @throws UserError */
export function parseHostFile(text: string, path: string): Host[] {
  const hosts = text.split('\n').flatMap((line, index) => {
    const [name, ...settings] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (!name) return [];
    const from = `${path}:${index + 1}`;
    const slots = settings.map((setting) => /^(?:slots|workers)=(\d{1,4})$/.exec(setting)?.[1]);
    if (slots.length > 1 || slots.includes(undefined)) {
      throw new UserError(
        `${from}: expected HOST, HOST:WORKERS or HOST slots=WORKERS, received "${line.trim().slice(0, 80)}"`,
      );
    }
    return [parseHost(slots.length === 0 ? name : `${name}:${slots[0]}`, from)];
  });
  return checked(hosts, path);
}

function parseHost(word: string, from: string): Host {
  const [, user, address, name, count = '1'] = pattern.exec(word) ?? [];
  const host = address ?? name;
  const workers = Number(count);
  if (host === undefined || workers < 1 || workers > workersMax) {
    throw new UserError(
      `${from}: expected HOST:WORKERS with 1 to ${workersMax} workers, received "${word.slice(0, 80)}"`,
    );
  }
  return { host, target: user === undefined ? host : `${user}@${host}`, workers };
}

function checked(hosts: readonly Host[], from: string): Host[] {
  if (hosts.length === 0) throw new UserError(`${from}: names no host`);
  if (hosts.length > hostsMax)
    throw new UserError(`${from}: expected at most ${hostsMax} hosts, received ${hosts.length}`);
  const twice = hosts.find(({ host }, index) => hosts.findIndex((other) => other.host === host) < index);
  if (twice === undefined) return [...hosts];
  throw new UserError(`${from}: ${twice.host} is listed twice; list it once, with the sum of its workers`);
}

/**
 * Where others reach this machine, which the first host must be.
 * @returns its name; undefined if it is only known as `localhost`
 * @throws UserError if it is another machine, or unknown
 */
export async function nameOfThisMachine({ host }: Host): Promise<string | undefined> {
  if (host === 'localhost' || isLoopbackHost(host)) return undefined;
  if (host === hostname()) return host;
  const own = ownAddresses();
  const addresses = await ownHosts(host);
  if (addresses.some((address) => own.includes(address) || isLoopbackHost(address))) return host;
  throw new UserError(
    `the first host coordinates, and ${host} (${addresses.join(', ')}) is not this machine: run the command there, ` +
      `or put ${hostname()} first`,
  );
}
