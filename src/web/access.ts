/**
 * Who may use a server of this package. On the loopback interface everybody on this machine, but no web page of another site: the Host header must name this
 * machine, which a name that was bent to 127.0.0.1 does not. Elsewhere whoever has the token, in the address once and in a cookie then.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

export interface AccessOptions {
  /** Needed for anything; undefined: the server listens on loopback only. */
  readonly token: string | undefined;
  /** Where the server listens. Browsers send a cookie to every port of a host: its name tells servers on one host apart. */
  readonly port: number | undefined;
}

export interface AccessRequest {
  readonly host: string | undefined;
  readonly queryToken: string | undefined;
  readonly cookie: string | undefined;
  readonly authorization: string | undefined;
}

/** `cookie`: let in, and to be remembered by this cookie. */
export type Access =
  | { readonly allowed: true; readonly cookie?: string }
  | { readonly allowed: false; readonly reason: string };

export function accessOf(options: AccessOptions, request: AccessRequest): Access {
  const { token } = options;
  if (token === undefined) {
    if (isThisMachine(request.host)) return { allowed: true };
    return { allowed: false, reason: 'this server is for this machine: open it as http://127.0.0.1:PORT' };
  }
  const cookieName = `lockstep-${options.port}`;
  if (isSame(request.queryToken, token)) {
    return { allowed: true, cookie: `${cookieName}=${token}; HttpOnly; SameSite=Strict; Path=/` };
  }
  const bearer = /^Bearer (.+)$/.exec(request.authorization ?? '')?.[1];
  const cookie = new RegExp(`(?:^|; )${cookieName}=([^;]+)`).exec(request.cookie ?? '')?.[1];
  if (isSame(cookie, token) || isSame(bearer, token)) return { allowed: true };
  return {
    allowed: false,
    reason: 'the token is missing or wrong: open the address that was printed, with ?token=',
  };
}

/**
 * Whether a request comes from a page of another site. Browsers name the page's site in `Origin` wherever a request could do more than
 * follow a link; other programs leave it out.
 */
export function isForeign(origin: string | undefined, host: string | undefined): boolean {
  return origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`;
}

/** Without a DNS name of somebody else's. */
function isThisMachine(host: string | undefined): boolean {
  const name = (host ?? '').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return name === 'localhost' || name === '::1' || (isIP(name) === 4 && name.startsWith('127.'));
}

/** In a time that does not depend on where they differ. */
function isSame(given: string | undefined, token: string): boolean {
  if (given === undefined) return false;
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}
