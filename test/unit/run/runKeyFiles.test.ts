import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { joinKeysOf, newRunKeys, renderRunKeys } from '../../../src/comm/runKeys.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';
import { joinKeys, keysToResumeWith, writeRunKeys } from '../../../src/run/runKeyFiles.ts';

let folder: RunFolder;
beforeEach(async () => {
  folder = new RunFolder(await mkdtemp(join(tmpdir(), 'lockstep-keys-')));
});
afterEach(async () => {
  await rm(folder.path, { recursive: true });
});

describe('the key files of a run', () => {
  it('are two, for their owner alone, and only one has the secret of the coordinator', async () => {
    const keys = newRunKeys();
    const before = process.umask(0);
    await writeRunKeys(folder, keys).finally(() => process.umask(before));
    expect((await readdir(folder.path)).sort()).toEqual(['join.key', 'run.key']);
    for (const path of [folder.runKeyPath, folder.joinKeyPath]) expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readFile(folder.joinKeyPath, 'utf8')).not.toContain(keys.serverSecretKey);
    expect(await keysToResumeWith(folder)).toEqual(keys);
    expect(await joinKeys(folder.joinKeyPath, undefined)).toEqual(joinKeysOf(keys));
  });

  it('are replaced completely, also where others could read the former ones', async () => {
    for (const path of [folder.runKeyPath, `${folder.runKeyPath}.new`]) await writeFile(path, 'old', { mode: 0o644 });
    const target = join(folder.path, 'elsewhere');
    await writeFile(target, 'untouched');
    await symlink(target, folder.joinKeyPath);
    const keys = newRunKeys();
    await writeRunKeys(folder, keys);
    expect((await stat(folder.runKeyPath)).mode & 0o777).toBe(0o600);
    expect(await keysToResumeWith(folder)).toEqual(keys);
    expect(await readFile(target, 'utf8')).toBe('untouched');
    expect((await readdir(folder.path)).sort()).toEqual(['elsewhere', 'join.key', 'run.key']);
  });

  it('are new where a run had none', async () => {
    expect(await keysToResumeWith(folder)).not.toEqual(await keysToResumeWith(folder));
  });

  it.each([0o644, 0o640, 0o604, 0o620, 0o660])('are not read with mode %o', async (mode) => {
    await writeRunKeys(folder, newRunKeys());
    for (const path of [folder.runKeyPath, folder.joinKeyPath]) await chmod(path, mode);
    const problem = (path: string) => `${path} is open to other users (mode ${mode.toString(8)}): chmod 600 ${path}`;
    await expect(keysToResumeWith(folder)).rejects.toThrow(problem(folder.runKeyPath));
    await expect(joinKeys(folder.joinKeyPath, undefined)).rejects.toThrow(problem(folder.joinKeyPath));
    await expect(joinKeys(folder.joinKeyPath, undefined)).rejects.toThrow(UserError);
  });

  it('say which of them is wrong', async () => {
    await writeFile(folder.runKeyPath, renderRunKeys(joinKeysOf(newRunKeys())), { mode: 0o600 });
    await expect(keysToResumeWith(folder)).rejects.toThrow(/run\.key: expected the keys of the coordinator/);
    await writeFile(folder.runKeyPath, 'x'.repeat(1_000_000));
    await expect(keysToResumeWith(folder)).rejects.toThrow(/run\.key: expected the keys of a run, .* received 4097/);
    await expect(joinKeys(folder.path, undefined)).rejects.toThrow(/chmod 600|received no file/);
    await expect(joinKeys(join(folder.path, 'none'), undefined)).rejects.toThrow(
      /there is no file .*none: copy join\.key/,
    );
  });
});

describe('what launch join joins with', () => {
  it('may be in the home folder', async () => {
    const keys = newRunKeys();
    await writeRunKeys(folder, keys);
    const { HOME } = process.env;
    process.env['HOME'] = folder.path;
    try {
      expect(await joinKeys(`~/${basename(folder.joinKeyPath)}`, undefined)).toEqual(joinKeysOf(keys));
    } finally {
      process.env['HOME'] = HOME;
    }
  });

  it('is the file, else the environment, else nothing; never the secret of the coordinator', async () => {
    const [a, b] = [newRunKeys(), newRunKeys()];
    await writeRunKeys(folder, a);
    expect(await joinKeys(folder.runKeyPath, renderRunKeys(b))).toEqual(joinKeysOf(a));
    expect(await joinKeys(undefined, renderRunKeys(b))).toEqual(joinKeysOf(b));
    expect(await joinKeys(undefined, undefined)).toBeUndefined();
    await expect(joinKeys(undefined, '')).rejects.toThrow(/^LOCKSTEP_JOIN_KEY: expected the keys of a run/);
  });
});
