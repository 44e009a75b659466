/** Where the ring ends of workers listen: `--ring-ports` and LOCKSTEP_IFNAME, for `launch` and `launch join`. */
import { UserError } from '../base/errors.ts';
import { addressOfInterface, parsePortRange, portsOf, type RingPlace } from '../comm/ringPlace.ts';

/** The interface, or several separated by commas, whose address the ring ends have. */
const interfaceVariable = 'LOCKSTEP_IFNAME';

/**
 * @param needsInterface whether other machines are to reach the workers
 * @throws UserError for a malformed range, and for interfaces that this machine needs and lacks
 */
export function ringPlaceOf(ringPorts: string | undefined, needsInterface: boolean): RingPlace {
  const ports = ringPorts === undefined ? undefined : parsePortRange(ringPorts);
  const interfaces = (process.env[interfaceVariable] ?? '').split(',').filter((name) => name !== '');
  if (interfaces.length === 0) return { ports };
  if (needsInterface) addressOfInterface(interfaces);
  return { ports, interfaces };
}

/** @param workers number of workers on one machine @param machine for the message @throws UserError if the range is too small */
export function checkPorts({ ports }: RingPlace, workers: number, machine = 'this machine'): void {
  if (ports === undefined || portsOf(ports) >= workers) return;
  throw new UserError(
    `--ring-ports ${ports.first}-${ports.last}: expected a port for each of the ${workers} workers of ${machine}`,
  );
}
