/** This machine's addresses, IPv4 and IPv6, at which other machines may reach it. */
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';

/** Interfaces of containers and virtual machines. Most have the same address on every machine, and none leads to another machine. */
const virtualName =
  /^(docker|br-[0-9a-f]{12}$|virbr|veth|vnet|vmnet|vboxnet|vethernet|lxcbr|lxdbr|podman|cni|cali|cilium|flannel|kube|weave|tap\d)/i;

/** The result of `networkInterfaces` of `node:os`. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/**
 * The addresses at which other machines may reach this one, likeliest first: virtual bridges come last, and IPv4 comes before IPv6.
 * Excludes loopback, and link-local IPv6 addresses, to which each machine must add the name of its own interface.
 */
export function externalAddresses(interfaces: Interfaces = networkInterfaces()): string[] {
  const all = Object.entries(interfaces).flatMap(([name, list]) =>
    (list ?? []).map(({ address, family, internal }) => ({
      address,
      internal,
      order:
        4 * Number(virtualName.test(name)) + 2 * Number(address.startsWith('169.254.')) + Number(family !== 'IPv4'),
    })),
  );
  const external = all.filter(({ address, internal }) => !internal && !isLinkLocal(address));
  return external.sort((a, b) => a.order - b.order).map(({ address }) => address);
}

/** Every address of this machine, including loopback. */
export function ownAddresses(interfaces: Interfaces = networkInterfaces()): string[] {
  return Object.values(interfaces).flatMap((list) => (list ?? []).map(({ address }) => address));
}

/** The addresses of each interface that has any, IPv4 first; those that need an interface's name are left out. */
export function interfaceAddresses(interfaces: Interfaces = networkInterfaces()): Map<string, string[]> {
  const order = (family: string) => Number(family !== 'IPv4');
  return new Map(
    Object.entries(interfaces).map(([name, list]) => [
      name,
      [...(list ?? [])]
        .sort((a, b) => order(a.family) - order(b.family))
        .map(({ address }) => address)
        .filter((address) => !isLinkLocal(address)),
    ]),
  );
}

/** The interfaces with a link-local IPv6 address, whose names belong behind the `%` of such addresses of other machines. */
export function linkLocalZones(interfaces: Interfaces = networkInterfaces()): string[] {
  const hasOne = ([, list]: [string, readonly NetworkInterfaceInfo[] | undefined]) =>
    list?.some(({ address, internal }) => !internal && isLinkLocal(address));
  return Object.entries(interfaces)
    .filter(hasOne)
    .map(([name]) => name);
}

/** Whether the address identifies a machine only together with an interface: `fe80::1%eth0`. */
export function isLinkLocal(address: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(address);
}
