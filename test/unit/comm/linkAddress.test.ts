/** Addresses of both families: how they are written, and which of them a peer is given. */
import type { NetworkInterfaceInfo } from 'node:os';
import { expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import {
  addressesFromElsewhere,
  addressFromHere,
  covers,
  formatTcpAddress,
  hostFacing,
  isLoopback,
  joinAddresses,
  parseTcpAddress,
  resolveHosts,
  UnreachableError,
} from '../../../src/comm/linkAddress.ts';
import { addressesToTry, CoordinatorHost, offeredAddresses } from '../../../src/comm/ringReach.ts';

const family = (address: string) => (address.includes(':') ? ('IPv6' as const) : ('IPv4' as const));
const at = (address: string, internal = false) =>
  ({
    address,
    family: family(address),
    internal,
    netmask: '',
    mac: '',
    cidr: null,
    scopeid: 0,
  }) as NetworkInterfaceInfo;

/** As Linux lists them where containers run: their bridge before the network. */
const machine = {
  lo: [at('127.0.0.1', true), at('::1', true)],
  docker0: [at('172.17.0.1')],
  eth0: [at('10.7.0.1'), at('fd07::1'), at('fe80::1')],
};

it.each([
  ['tcp://127.0.0.1:5555', { host: '127.0.0.1', port: 5555 }],
  ['tcp://[::]:5555', { host: '::', port: 5555 }],
  ['tcp://[fd07::1]:5555', { host: 'fd07::1', port: 5555 }],
  ['tcp://[fe80::1%eth0]:5555', { host: 'fe80::1%eth0', port: 5555 }],
  ['tcp://[::ffff:10.7.0.1]:1', { host: '::ffff:10.7.0.1', port: 1 }],
  ['tcp://train.example:0', { host: 'train.example', port: 0 }],
])('reads and writes %s', (text, address) => {
  expect(parseTcpAddress(text)).toEqual(address);
  expect(formatTcpAddress(address)).toBe(text);
});

it.each([
  'tcp://fd07::1:5555',
  'tcp://::1:5555',
  '127.0.0.1:5555',
  'tcp://[eth0]:1',
  'tcp://a,b:1',
  'tcp://h:70000',
  'tcp://h',
])('refuses %s', (text) => {
  expect(() => parseTcpAddress(text)).toThrow(UserError);
  expect(() => parseTcpAddress(text)).toThrow(/tcp:\/\/\[::1\]:5555/);
});

it.each([
  ['tcp://10.7.0.1:5', 'tcp://10.7.0.1:5', ['tcp://10.7.0.1:5']],
  ['tcp://127.0.0.1:5', 'tcp://127.0.0.1:5', ['tcp://127.0.0.1:5']],
  ['tcp://0.0.0.0:5', 'tcp://127.0.0.1:5', ['tcp://10.7.0.1:5', 'tcp://172.17.0.1:5']],
  ['tcp://[::]:5', 'tcp://127.0.0.1:5', ['tcp://10.7.0.1:5', 'tcp://[fd07::1]:5', 'tcp://172.17.0.1:5']],
])('what listens on %s is reached from here at %s, from elsewhere at %j', (bound, here, elsewhere) => {
  expect(addressFromHere(bound)).toBe(here);
  expect(addressesFromElsewhere(bound, machine)).toEqual(elsewhere);
});

it('others join at the address that was given for them', () => {
  expect(joinAddresses('tcp://10.7.0.1:5', undefined)).toEqual(['tcp://10.7.0.1:5']);
  expect(joinAddresses('tcp://0.0.0.0:5', 'tcp://train.example:7')).toEqual(['tcp://train.example:7']);
  expect(joinAddresses('tcp://0.0.0.0:5', 'tcp://[fd07::1]:0')).toEqual(['tcp://[fd07::1]:5']);
});

it.each([
  ['tcp://10.7.0.1:5', 'tcp://10.7.0.1:5', true],
  ['tcp://0.0.0.0:5', 'tcp://10.7.0.1:5', true],
  ['tcp://0.0.0.0:5', 'tcp://0.0.0.0:6', false],
  ['tcp://0.0.0.0:5', 'tcp://[fd07::1]:5', false],
  ['tcp://[::]:5', 'tcp://[fd07::1]:5', true],
  ['tcp://[::]:5', 'tcp://0.0.0.0:5', true],
  ['tcp://10.7.0.1:5', 'tcp://0.0.0.0:5', false],
])('who looks for a coordinator where %s is bound, at %s, finds it: %s', (bound, wanted, finds) => {
  expect(covers(bound, wanted)).toBe(finds);
});

it('finds the address that faces another, and what is loopback', async () => {
  expect(await hostFacing(['127.0.0.1'], 'tcp://127.0.0.1:5555')).toBe('127.0.0.1');
  expect(await hostFacing(await resolveHosts('localhost'), 'tcp://localhost:5555')).toMatch(/^(127\.0\.0\.1|::1)$/);
  const here = ['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]'];
  for (const address of here.map((host) => `tcp://${host}:1`)) {
    expect(await isLoopback(address), address).toBe(true);
  }
  for (const address of [
    'tcp://0.0.0.0:1',
    'tcp://[::]:1',
    'tcp://*:1',
    'tcp://10.7.0.1:1',
    'tcp://[::ffff:10.7.0.1]:1',
  ]) {
    expect(await isLoopback(address), address).toBe(false);
  }
});

it('says what to put before an address without tcp://', () => {
  expect(() => parseTcpAddress('127.0.0.1:5555')).toThrow(
    /"127.0.0.1:5555"\. Put tcp:\/\/ before it: tcp:\/\/127.0.0.1:5555$/,
  );
  expect(() => parseTcpAddress('quickstart')).toThrow(/"quickstart"\.$/);
});

const beside = { coordinatorAddress: 'tcp://127.0.0.1:5', isBeside: true };
const byCable = { coordinatorAddress: 'tcp://10.7.0.1:5', isBeside: false };

it.each([
  ['tcp://127.0.0.1:9', beside, undefined, ['tcp://*:9', 'tcp://127.0.0.1:9']],
  ['tcp://0.0.0.0:9', beside, undefined, ['tcp://*:9', 'tcp://10.7.0.1:9', 'tcp://172.17.0.1:9']],
  ['tcp://[::]:9', byCable, 'fd07::1', ['tcp://[fd07::1]:9', 'tcp://10.7.0.1:9', 'tcp://172.17.0.1:9']],
  ['tcp://[::]:9', byCable, '172.17.0.1', ['tcp://172.17.0.1:9', 'tcp://10.7.0.1:9', 'tcp://[fd07::1]:9']],
  [
    'tcp://[::]:9',
    byCable,
    'fe80::1%eth0',
    ['tcp://[fe80::1]:9', 'tcp://10.7.0.1:9', 'tcp://[fd07::1]:9', 'tcp://172.17.0.1:9'],
  ],
  ['tcp://127.0.0.1:9', undefined, undefined, ['tcp://127.0.0.1:9']],
])('a ring end that listens on %s offers (%o, facing %s) %j', (bound, run, facing, offered) => {
  expect(offeredAddresses(bound, { isBeside: run?.isBeside === true, facing }, machine)).toEqual(offered);
});

/** Another machine of the same kind. */
const other = { lo: machine.lo, docker0: machine.docker0, eth1: [at('10.7.0.2'), at('fe80::2')] };

it("tries the host of the coordinator first, and never an address that is this machine's own", async () => {
  const offered = { tcp: ['tcp://*:9', 'tcp://172.17.0.1:9', 'tcp://10.8.0.1:9'], hostId: 'a', publicKey: undefined };
  const [cable, tunnel] = [byCable, beside].map(({ coordinatorAddress }) => new CoordinatorHost(coordinatorAddress));
  const there = await addressesToTry(offered, 'b', cable, other);
  expect(there).toEqual(['tcp://10.7.0.1:9', 'tcp://10.8.0.1:9']);
  // Through a tunnel the coordinator seems to be on this machine: its neighbours are not.
  expect(await addressesToTry(offered, 'b', tunnel, other)).toEqual(['tcp://10.8.0.1:9']);
  // On the same machine, and where nobody knows, any address may be the one.
  const here = await addressesToTry(offered, 'a', tunnel, machine);
  expect(here).toEqual(['tcp://127.0.0.1:9', 'tcp://172.17.0.1:9', 'tcp://10.8.0.1:9']);
  expect(await addressesToTry({ ...offered, hostId: undefined }, undefined, tunnel, other)).toEqual(here);
});

it("gives up the coordinator's host where its name is unknown, and not the other addresses", async () => {
  const unknown = new CoordinatorHost('tcp://nobody.invalid:5');
  const offered = { tcp: ['tcp://*:9', 'tcp://10.8.0.1:9'], hostId: 'a', publicKey: undefined };
  expect(await addressesToTry(offered, 'b', unknown, other)).toEqual(['tcp://10.8.0.1:9']);
});

it("keeps the last addresses of the coordinator's host while its name is unknown", async () => {
  const answers = [['10.7.0.1'], undefined, ['10.7.0.9'], undefined];
  const host = new CoordinatorHost('tcp://run-0.run:5', async (name) => {
    const answer = answers.shift();
    if (answer === undefined) throw new UnreachableError(`${name} is not known here`, 'unknown');
    return answer;
  });
  const offered = { tcp: ['tcp://*:9'], hostId: 'a', publicKey: undefined };
  const tried: string[][] = [];
  for (let i = 0; i < 4; i++) tried.push(await addressesToTry(offered, 'b', host, other));
  expect(tried.flat()).toEqual(['tcp://10.7.0.1:9', 'tcp://10.7.0.1:9', 'tcp://10.7.0.9:9', 'tcp://10.7.0.9:9']);
});

it('tries a link-local address on each interface that has one', async () => {
  const offered = { tcp: ['tcp://[fe80::1]:9'], hostId: 'a', publicKey: undefined };
  expect(await addressesToTry(offered, 'b', undefined, other)).toEqual(['tcp://[fe80::1%eth1]:9']);
});
