/** In which order the addresses of a machine are given to others. */
import { expect, it } from 'vitest';
import { externalAddresses, type Interfaces, linkLocalZones, ownAddresses } from '../../../src/base/localAddresses.ts';

/** The interfaces, as the system lists them. */
function machine(interfaces: Readonly<Record<string, readonly string[]>>): Interfaces {
  const entries = Object.entries(interfaces).map(([name, addresses]) => {
    const list = addresses.map((address) => {
      const where = { address, netmask: '', mac: '', cidr: null, internal: name === 'lo' };
      return address.includes(':')
        ? { ...where, family: 'IPv6' as const, scopeid: 0 }
        : { ...where, family: 'IPv4' as const };
    });
    return [name, list] as const;
  });
  return Object.fromEntries(entries);
}

const lo = ['127.0.0.1', '::1'];

it.each([
  { of: 'a bridge of containers before the network', has: { docker0: ['172.17.0.1'], eth0: ['10.7.0.1'] } },
  { of: 'a network of docker compose', has: { 'br-0123456789ab': ['172.17.0.1'], eth0: ['10.7.0.1'] } },
  { of: 'libvirt', has: { virbr0: ['172.17.0.1'], enp3s0: ['10.7.0.1'] } },
  { of: 'an address that no DHCP server gave', has: { eth1: ['169.254.1.1'], eth0: ['10.7.0.1'] } },
])('puts last what leads nowhere: $of', ({ has }) => {
  const [first, ...others] = externalAddresses(machine({ lo, ...has }));
  expect(first).toBe('10.7.0.1');
  expect(others).toHaveLength(1);
});

it('gives both families, IPv4 first, and neither loopback nor link-local addresses', () => {
  const has = machine({ lo, docker0: ['172.17.0.1', 'fd17::1'], eth0: ['fe80::1', 'fd07::1', '10.7.0.1'] });
  expect(externalAddresses(has)).toEqual(['10.7.0.1', 'fd07::1', '172.17.0.1', 'fd17::1']);
  expect(ownAddresses(has)).toEqual([...lo, '172.17.0.1', 'fd17::1', 'fe80::1', 'fd07::1', '10.7.0.1']);
  expect(linkLocalZones(has)).toEqual(['eth0']);
});

it('keeps a bridge that a person made', () => {
  expect(externalAddresses(machine({ lo, 'br-lan': ['10.7.0.1'], eth0: ['10.8.0.1'] }))).toEqual([
    '10.7.0.1',
    '10.8.0.1',
  ]);
});

it('gives none where there is only loopback', () => {
  expect(externalAddresses(machine({ lo }))).toEqual([]);
});
