import { expect, it } from 'vitest';
import { curveKeyPair } from 'zeromq';
import { PeerError } from '../../../src/base/errors.ts';
import { formatRingAddress, parseRingAddress } from '../../../src/comm/ringAddress.ts';

const { publicKey } = curveKeyPair();

it.each([
  { tcp: 'tcp://127.0.0.1:5555', hostId: undefined, publicKey: undefined },
  { tcp: 'tcp://127.0.0.1:5555', hostId: 'a-b', publicKey: undefined },
  { tcp: 'tcp://[::1]:5555', hostId: 'a-b', publicKey },
  { tcp: 'tcp://127.0.0.1:5555', hostId: undefined, publicKey },
])('says where, on which machine and by which key: %o', (address) => {
  expect(parseRingAddress(formatRingAddress(address))).toEqual(address);
  expect(formatRingAddress(address).length).toBeLessThan(512);
});

it.each([
  '',
  'tcp://',
  'memory://1',
  'tcp://h:1/id/key',
  'tcp://h:1/id/x/y',
  'tcp://h:70000',
  `tcp://h:1//${'g'.repeat(64)}`,
])('refuses %s', (text) => {
  expect(() => parseRingAddress(text)).toThrow(PeerError);
  expect(() => parseRingAddress(text)).toThrow(/expected a ring address like/);
});
