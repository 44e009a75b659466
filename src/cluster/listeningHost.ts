/** Where node 0 of a job listens. */
import { isIP } from 'node:net';
import { ownAddresses } from '../base/localAddresses.ts';
import { isLoopbackHost, resolveHosts } from '../comm/linkAddress.ts';

/**
 * The address by which the other nodes reach this one, if it has just one of that name; otherwise every interface. Some systems resolve
 * their own name to a loopback address (127.0.1.1), and a name may lead here through a translated address: neither says where to listen.
 * @param host the name or address that the other nodes use; undefined if there is none yet
 */
export async function listeningHostOf(host: string | undefined): Promise<string> {
  if (host === undefined) return '*';
  const own = ownAddresses();
  if (isIP(host) !== 0) return own.includes(host) || isLoopbackHost(host) ? host : '*';
  if (host === 'localhost') return host;
  // A pod's name may be unknown for a moment.
  const known = await resolveHosts(host).catch(() => []);
  const here = known.filter((address) => own.includes(address) && !isLoopbackHost(address));
  return here.length === 1 && known.length === 1 ? here[0]! : '*';
}
