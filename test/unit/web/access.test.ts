import { describe, expect, it } from 'vitest';
import { accessOf, isForeign } from '../../../src/web/access.ts';

const nothing = { host: undefined, queryToken: undefined, cookie: undefined, authorization: undefined };

describe('without a token', () => {
  it.each(['127.0.0.1:3141', 'localhost:3141', '[::1]:3141', '127.0.0.1', 'localhost', '127.9.9.9:1'])(
    '%s is let in',
    (host) => {
      expect(accessOf({ token: undefined, port: 3141 }, { ...nothing, host })).toEqual({ allowed: true });
    },
  );

  it.each([
    undefined,
    '',
    'evil.example:3141',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    '10.0.0.1:3141',
    '127.evil',
  ])('%s is not: a name of somebody else that leads here', (host) => {
    expect(accessOf({ token: undefined, port: 3141 }, { ...nothing, host })).toMatchObject({ allowed: false });
  });
});

describe('a page of another site', () => {
  it.each(['http://evil.example', 'null', 'http://127.0.0.1:9999', 'ftp://127.0.0.1:3141'])(
    '%s is refused',
    (origin) => {
      expect(isForeign({ origin, host: '127.0.0.1:3141' })).toBe(true);
    },
  );

  it.each([undefined, 'http://127.0.0.1:3141', 'https://127.0.0.1:3141'])('%s is not foreign', (origin) => {
    expect(isForeign({ origin, host: '127.0.0.1:3141' })).toBe(false);
  });

  it.each([
    ['cross-site', 'no-cors', true],
    ['same-site', 'no-cors', true],
    ['cross-site', 'navigate', false],
    ['same-origin', 'no-cors', false],
    ['none', 'navigate', false],
  ])('a request without Origin from %s with mode %s: %s', (site, mode, foreign) => {
    const headers = { host: '127.0.0.1:3141', 'sec-fetch-site': site, 'sec-fetch-mode': mode };
    expect(isForeign(headers)).toBe(foreign);
  });
});

describe('with a token', () => {
  const token = 'a-token';
  const access = (request: Partial<typeof nothing> | object) =>
    accessOf({ token, port: 3141 }, { ...nothing, host: 'any.example', ...request });

  it('a browser that has it in the address gets a cookie, and is let in by that, or as a bearer', () => {
    const first = access({ queryToken: token });
    expect(first).toEqual({ allowed: true, cookie: `lockstep-3141=${token}; HttpOnly; SameSite=Strict; Path=/` });
    expect(access({ cookie: `lockstep-8000=other; lockstep-3141=${token}` })).toEqual({ allowed: true });
    expect(access({ authorization: `Bearer ${token}` })).toEqual({ allowed: true });
  });

  it.each([
    ['nothing', {}],
    ['another one', { queryToken: 'a-toke' }],
    ['a longer one', { queryToken: 'a-token2' }],
    ['a cookie of another name', { cookie: `xlockstep-3141=${token}` }],
    ['the cookie of a server on another port', { cookie: `lockstep-8000=${token}` }],
    ['a wrong bearer', { authorization: 'Bearer x' }],
  ])('%s is refused', (_, request) => {
    expect(access(request)).toMatchObject({ allowed: false, reason: expect.stringMatching(/token/) });
  });
});
