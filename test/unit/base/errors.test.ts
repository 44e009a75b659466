import { once } from 'node:events';
import { lstat, open, readdir, rename, stat } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type NetConnectOpts } from 'node:net';
import { describe, expect, it } from 'vitest';
import { fullMessageOf, messageOf } from '../../../src/base/errors.ts';

const failure = (code: string, syscall?: string) =>
  Object.assign(new Error(`${code}: as Node says it`), { code, syscall });

it('gives the reason of a failed system call in words', async () => {
  const error = await stat('/nowhere').catch((thrown: unknown) => thrown);
  expect(messageOf(error)).toBe('there is no such file or folder (ENOENT)');
  // What a full disk, a quota, a drive that is gone and a limit say.
  for (const code of ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'ESTALE', 'EACCES', 'EPERM', 'EMFILE', 'ENAMETOOLONG']) {
    expect(messageOf(failure(code)), code).toMatch(new RegExp(`^[a-z][^:]+ \\(${code}\\)$`));
  }
});

it('leaves other messages as they are', () => {
  expect(messageOf(failure('EUNKNOWN'))).toBe('EUNKNOWN: as Node says it');
  expect(messageOf(failure('ENOENT', 'spawn python'))).toBe('ENOENT: as Node says it');
  expect(messageOf(failure('constructor'))).toBe('constructor: as Node says it');
  expect(messageOf('a text')).toBe('a text');
});

describe('a full message', () => {
  const told = async (promise: Promise<unknown>) => fullMessageOf(await promise.catch((thrown: unknown) => thrown));

  it('names the action and the file', async () => {
    const why = 'there is no such file or folder (ENOENT)';
    expect(await told(open('/nowhere/a'))).toBe(`cannot open /nowhere/a: ${why}`);
    expect(await told(lstat('/nowhere'))).toBe(`cannot inspect /nowhere: ${why}`);
    expect(await told(readdir('/nowhere'))).toBe(`cannot list the folder /nowhere: ${why}`);
    expect(await told(rename('/nowhere', '/b'))).toBe(`cannot rename /nowhere to /b: ${why}`);
  });

  it('names the address and port, or the name that was looked up', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const other = createServer().listen(port, '127.0.0.1');
    const [taken] = (await once(other, 'error')) as [Error];
    expect(fullMessageOf(taken)).toBe(`cannot listen on 127.0.0.1:${port}: another program listens there (EADDRINUSE)`);
    server.close();
    await once(server, 'close');
    const failed = async (options: NetConnectOpts) =>
      (await once(connect(options), 'connect').catch((e) => e)) as Error;
    const refused = await failed({ port, host: '127.0.0.1' });
    const why = 'nothing listens there (ECONNREFUSED)';
    expect(fullMessageOf(refused)).toBe(`cannot connect to 127.0.0.1:${port}: ${why}`);
    // One error for each address of a name.
    const second = Object.assign(new Error(), { code: 'ECONNREFUSED', syscall: 'connect', address: '::1', port });
    expect(fullMessageOf(new AggregateError([refused, second]))).toBe(
      `cannot connect to 127.0.0.1:${port}: ${why}; cannot connect to [::1]:${port}: ${why}`,
    );
    const unknown = Object.assign(new Error(), { code: 'ENOTFOUND', syscall: 'getaddrinfo', hostname: 'a.invalid' });
    expect(fullMessageOf(unknown)).toBe('cannot look up a.invalid: the name is not known (ENOTFOUND)');
    expect(fullMessageOf(failure('ECONNREFUSED', 'connect'))).toBe(`cannot connect: ${why}`);
  });

  it('of any other error is its message', () => {
    expect(fullMessageOf(new Error('which and why'))).toBe('which and why');
    expect(fullMessageOf(new AggregateError([new Error('a')], 'both'))).toBe('both');
    expect(fullMessageOf('a text')).toBe('a text');
  });
});
