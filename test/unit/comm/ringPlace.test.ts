/** Where ring ends listen: the ports of a range, and the address of an interface. */
import { createServer, type Server } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { afterEach, expect, it } from 'vitest';
import { parseRingAddress } from '../../../src/comm/ringAddress.ts';
import { addressOfInterface, parsePortRange, type RingPlace } from '../../../src/comm/ringPlace.ts';
import { newRunKeys } from '../../../src/comm/runKeys.ts';
import { zmqTransport } from '../../../src/comm/zmqLink.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanups.splice(0).reverse()) await cleanUp();
});

it.each([
  ['6000-6015', { first: 6000, last: 6015 }],
  ['6000', { first: 6000, last: 6000 }],
])('%s are ports', (text, range) => {
  expect(parsePortRange(text)).toEqual(range);
});

it.each(['', '0-5', '6015-6000', '6000-70000', 'a-b', '6000-', '6000,6001'])('%j is not a range of ports', (text) => {
  expect(() => parsePortRange(text)).toThrow(/^--ring-ports: expected a range of ports like 6000-6015, received/);
});

const at = (address: string) => ({ address, family: address.includes(':') ? 'IPv6' : 'IPv4' }) as NetworkInterfaceInfo;
const machine = {
  lo: [at('127.0.0.1')],
  eth0: [at('fe80::1'), at('fd00::1'), at('10.7.0.1')],
  ib0: [at('10.8.0.1')],
  tun0: [at('fe80::2')],
};

it('takes the address of the first interface that the machine has, and names those that exist', () => {
  expect(addressOfInterface(['eth0'], machine)).toBe('10.7.0.1');
  expect(addressOfInterface(['ens5', 'ib0', 'eth0'], machine)).toBe('10.8.0.1');
  expect(() => addressOfInterface(['ens5', 'eth'], machine)).toThrow(
    'LOCKSTEP_IFNAME=ens5,eth: this machine has no such network interface with an address. It has lo, eth0, ib0, tun0.',
  );
  expect(() => addressOfInterface(['tun0'], machine)).toThrow(/tun0 has only link-local addresses/);
});

/** Listens on three ports that follow one another. */
async function threePorts(): Promise<{ first: number; servers: Server[] }> {
  const listen = (port: number) =>
    new Promise<Server>((resolve, reject) => {
      const server = createServer();
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => resolve(server));
    });
  for (;;) {
    const servers: Server[] = [];
    try {
      servers.push(await listen(0));
      const first = (servers[0]!.address() as { port: number }).port;
      for (const next of [1, 2]) servers.push(await listen(first + next));
      cleanups.push(...servers.map((server) => () => void server.close()));
      return { first, servers };
    } catch {
      for (const server of servers) server.close();
    }
  }
}

async function portOf(ring: RingPlace, host = '127.0.0.1'): Promise<string[]> {
  const link = await zmqTransport({ ring }).openRing(host);
  cleanups.push(() => link.close());
  return parseRingAddress(link.address).tcp.map((address) => address.split(':').at(-1)!);
}

it('passes over ports of the range that are in use, and says so when all are', async () => {
  const { first, servers } = await threePorts();
  const ports = { first, last: first + 2 };
  await expect(portOf({ ports })).rejects.toThrow(
    `--ring-ports ${first}-${first + 2}: all of these ports are in use on this machine, and each worker needs one. Choose a wider range.`,
  );
  await new Promise((resolve) => servers[1]!.close(resolve));
  expect(await portOf({ ports })).toEqual([`${first + 1}`]);
  await new Promise((resolve) => servers[2]!.close(resolve));
  expect(await portOf({ ports })).toEqual([`${first + 2}`]);
});

const loopback = Object.entries(networkInterfaces()).find(([, list]) =>
  list?.some((each) => each.address === '127.0.0.1'),
)![0];

it.each([
  ['joins', undefined, loopback, ['tcp://127.0.0.1']],
  ['is beside a coordinator that listens everywhere', '0.0.0.0', loopback, ['tcp://127.0.0.1']],
  ['is in a run on loopback, where the interface does not matter', '127.0.0.1', 'none', ['tcp://*', 'tcp://127.0.0.1']],
])('a worker that %s listens on the interface alone', async (_, host, name, offered) => {
  const transport = zmqTransport({ ring: { interfaces: [name] }, keys: newRunKeys() });
  const link = await transport.openRing(host, {
    coordinatorAddress: 'tcp://127.0.0.1:1',
    isBeside: host !== undefined,
  });
  cleanups.push(() => link.close());
  expect(parseRingAddress(link.address).tcp.map((address) => address.replace(/:\d+$/, ''))).toEqual(offered);
});
