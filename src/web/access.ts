/**
 * Access control of this package's servers. On the loopback interface everyone on this machine has access, but web pages of other sites do not: the Host
 * header must name this machine, which a foreign name that resolves to 127.0.0.1 does not. Otherwise a client needs the token, first in the address and then in a cookie.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

export interface AccessOptions {
  /** Required for every request; undefined: the server listens on loopback only. */
  readonly token: string | undefined;
  /** Where the server listens. Browsers send a cookie to every port of a host, so its name distinguishes servers on one host. */
  readonly port: number | undefined;
}

export interface AccessRequest {
  readonly host: string | undefined;
  readonly queryToken: string | undefined;
  readonly cookie: string | undefined;
  readonly authorization: string | undefined;
}

/** `cookie`: allowed, and remembered by this cookie. */
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

/** Headers that tell which site a request comes from. */
export interface SiteHeaders {
  readonly host?: string | undefined;
  readonly origin?: string | undefined;
  readonly 'sec-fetch-site'?: string | undefined;
  readonly 'sec-fetch-mode'?: string | undefined;
}

/**
 * Whether a request comes from a page of another site, other than by a link that the user follows. Browsers send the page's site in
 * `Origin` if the page could read the answer or change something. For images and the like they send only `Sec-Fetch-Site`, in which
 * another port of this host counts as the same site but not as the same origin. Other programs send neither.
 */
export function isForeign(headers: SiteHeaders): boolean {
  const { host, origin } = headers;
  if (origin !== undefined) return origin !== `http://${host}` && origin !== `https://${host}`;
  const site = headers['sec-fetch-site'];
  return (site === 'cross-site' || site === 'same-site') && headers['sec-fetch-mode'] !== 'navigate';
}

/** Without a foreign DNS name. */
function isThisMachine(host: string | undefined): boolean {
  const name = (host ?? '').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return name === 'localhost' || name === '::1' || (isIP(name) === 4 && name.startsWith('127.'));
}

/** Compares in a time that does not depend on the position of the difference. */
function isSame(given: string | undefined, token: string): boolean {
  if (given === undefined) return false;
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}
