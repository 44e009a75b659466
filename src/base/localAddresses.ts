/** Which of this machine's addresses others may reach it at, of both families. */
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';

/** Bridges and pairs that containers and virtual machines hang on: most have the same address on every machine, and none leads out. */
const virtualName =
  /^(docker|br-[0-9a-f]{12}$|virbr|veth|vnet|vmnet|vboxnet|vethernet|lxcbr|lxdbr|podman|cni|cali|cilium|flannel|kube|weave|tap\d)/i;

/** As `networkInterfaces` of `node:os` gives them. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/**
 * The addresses that others may know this machine by, the likeliest first: those of virtual bridges come last, and IPv4 comes before
 * IPv6. Loopback is not among them. Nor are link-local IPv6 addresses: each machine has to add the name of its own interface to those.
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

/** Every address of this machine, loopback included. */
export function ownAddresses(interfaces: Interfaces = networkInterfaces()): string[] {
  return Object.values(interfaces).flatMap((list) => (list ?? []).map(({ address }) => address));
}

/** The interfaces that have a link-local IPv6 address: what such an address of another machine needs behind its `%`. */
export function linkLocalZones(interfaces: Interfaces = networkInterfaces()): string[] {
  const hasOne = ([, list]: [string, readonly NetworkInterfaceInfo[] | undefined]) =>
    list?.some(({ address, internal }) => !internal && isLinkLocal(address));
  return Object.entries(interfaces)
    .filter(hasOne)
    .map(([name]) => name);
}

/** Whether the address means a machine only together with an interface: `fe80::1%eth0`. */
export function isLinkLocal(address: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(address);
}
