import { expect, it } from 'vitest';
import { curveKeyPair } from 'zeromq';
import { PeerError } from '../../../src/base/errors.ts';
import { formatRingAddress, parseRingAddress, ringAddressLengthMax } from '../../../src/comm/ringAddress.ts';

const { publicKey } = curveKeyPair();

it.each([
  { tcp: ['tcp://127.0.0.1:5555'], hostId: undefined, publicKey: undefined },
  { tcp: ['tcp://127.0.0.1:5555'], hostId: 'a-b', publicKey: undefined },
  { tcp: ['tcp://*:5555', 'tcp://10.0.0.1:5555', 'tcp://[fd00::1]:5555'], hostId: undefined, publicKey: undefined },
  { tcp: ['tcp://[::1]:5555', 'tcp://[fe80::1%eth0.7]:5555'], hostId: 'a-b', publicKey },
  { tcp: ['tcp://127.0.0.1:5555'], hostId: undefined, publicKey },
])('says where, on which machine and by which key: %o', (address) => {
  expect(parseRingAddress(formatRingAddress(address))).toEqual(address);
});

it('names no more addresses than others accept, and no more characters', () => {
  const host = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';
  const tcp = Array.from({ length: 20 }, () => `tcp://[${host}]:65535`);
  const text = formatRingAddress({ tcp, hostId: '0'.repeat(64), publicKey });
  expect(parseRingAddress(text).tcp).toHaveLength(8);
  expect(text.length).toBeLessThan(ringAddressLengthMax);
});

it.each([
  '',
  'tcp://',
  'memory://1',
  'tcp://h:1/id/key',
  'tcp://h:1/id/x/y',
  'tcp://h:70000',
  'tcp://h:1,',
  'tcp://h:1,tcp://h',
  'tcp://h:1,10.0.0.1:1',
  Array.from({ length: 9 }, () => 'tcp://h:1').join(','),
  `tcp://h:1//${'g'.repeat(64)}`,
])('refuses %s', (text) => {
  expect(() => parseRingAddress(text)).toThrow(PeerError);
  expect(() => parseRingAddress(text)).toThrow(/expected a ring address like/);
});
