import { chmod, chown, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { joinKeysOf, newRunKeys, renderRunKeys } from '../../../src/comm/runKeys.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';
import { givenRunKeys, joinKeys, keysToResumeWith, makeKeyFiles, writeRunKeys } from '../../../src/run/runKeyFiles.ts';

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

  it.skipIf(process.getuid?.() !== 0).each([0o400, 0o440, 0o600, 0o640])(
    'are read with mode %o, if they are those of another user for a group of this process',
    async (mode) => {
      const keys = newRunKeys();
      await writeRunKeys(folder, keys);
      // As Kubernetes mounts Secrets: a link into a folder that is replaced at once.
      const mounted = join(folder.path, 'mounted.key');
      await symlink(folder.joinKeyPath, mounted);
      for (const path of [folder.runKeyPath, folder.joinKeyPath]) {
        await chown(path, 54_321, process.getegid?.() ?? 0);
        await chmod(path, mode);
      }
      expect(await keysToResumeWith(folder)).toEqual(keys);
      expect(await joinKeys(mounted, undefined)).toEqual(joinKeysOf(keys));
    },
  );

  it.each([0o400, 0o600])('are read with mode %o', async (mode) => {
    const keys = newRunKeys();
    await writeRunKeys(folder, keys);
    for (const path of [folder.runKeyPath, folder.joinKeyPath]) await chmod(path, mode);
    expect(await keysToResumeWith(folder)).toEqual(keys);
  });

  it.skipIf(process.getuid?.() !== 0)('are not read with mode 440 if the group is another', async () => {
    await writeRunKeys(folder, newRunKeys());
    await chmod(folder.joinKeyPath, 0o440);
    await chown(folder.joinKeyPath, 54_321, 54_321);
    await expect(joinKeys(folder.joinKeyPath, undefined)).rejects.toThrow(/is open to other users \(mode 440\)/);
  });

  it.each([0o440, 0o640, 0o644, 0o604, 0o620, 0o660, 0o650, 0o444])(
    "are not read with mode %o if they are one's own",
    async (mode) => {
      await writeRunKeys(folder, newRunKeys());
      for (const path of [folder.runKeyPath, folder.joinKeyPath]) await chmod(path, mode);
      const problem = (path: string) => `${path} is open to other users (mode ${mode.toString(8)}): chmod 600 ${path}`;
      await expect(keysToResumeWith(folder)).rejects.toThrow(problem(folder.runKeyPath));
      await expect(joinKeys(folder.joinKeyPath, undefined)).rejects.toThrow(problem(folder.joinKeyPath));
      await expect(joinKeys(folder.joinKeyPath, undefined)).rejects.toThrow(UserError);
    },
  );

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

describe('keys that are made before the run', () => {
  it('are two files for their owner alone, which are not written over', async () => {
    const made = new RunFolder(join(folder.path, 'new', 'keys'));
    await makeKeyFiles(made);
    expect((await readdir(made.path)).sort()).toEqual(['join.key', 'run.key']);
    expect((await stat(made.path)).mode & 0o777).toBe(0o700);
    const before = await readFile(made.runKeyPath, 'utf8');
    await rm(made.joinKeyPath);
    await expect(makeKeyFiles(made)).rejects.toThrow(
      /run\.key exists, and workers may depend on it: choose another --out/,
    );
    expect(await readFile(made.runKeyPath, 'utf8')).toBe(before);
    expect(await readdir(made.path)).toEqual(['run.key']);
    await expect(makeKeyFiles(new RunFolder(join(made.runKeyPath, 'x')))).rejects.toThrow(/cannot make the folder/);
  });

  it('are the file, else the environment, else none; those of the coordinator only', async () => {
    const [a, b] = [newRunKeys(), newRunKeys()];
    await writeRunKeys(folder, a);
    expect(await givenRunKeys(folder.runKeyPath, renderRunKeys(b))).toEqual(a);
    expect(await givenRunKeys(undefined, renderRunKeys(b))).toEqual(b);
    expect(await givenRunKeys(undefined, undefined)).toBeUndefined();
    await expect(givenRunKeys(folder.joinKeyPath, undefined)).rejects.toThrow(
      /join\.key: expected the keys of the coordi/,
    );
    await expect(givenRunKeys(undefined, renderRunKeys(joinKeysOf(a)))).rejects.toThrow(
      /^LOCKSTEP_RUN_KEY: expected the keys of the coordinator, received those for joining/,
    );
    await expect(givenRunKeys(join(folder.path, 'none'), undefined)).rejects.toThrow(
      /^--run-key: there is no file .*none: make it with launch keys/,
    );
  });

  it('are those of a resumed run, whatever a volume made of the mode of its file, or are refused', async () => {
    const [keys, others] = [newRunKeys(), newRunKeys()];
    expect(await keysToResumeWith(folder, keys)).toEqual(keys);
    await writeRunKeys(folder, keys);
    await chmod(folder.runKeyPath, 0o660);
    expect(await keysToResumeWith(folder, keys)).toEqual(keys);
    await expect(keysToResumeWith(folder, others)).rejects.toThrow(
      /has other keys than those given, so its workers could not return: omit --run-key \(LOCKSTEP_RUN_KEY\), or delete .*run\.key$/,
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
