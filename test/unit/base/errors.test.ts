import { stat } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { messageOf } from '../../../src/base/errors.ts';

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
