/** /proc is a file system of Linux whose folders cannot be synced: it answers EINVAL, as CIFS does. */
import { fsyncSync, openSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { nodeDisk } from '../../../src/base/diskOperations.ts';
import { passUnsupportedFolderSync } from '../../../src/base/folderSync.ts';
import { nodeJournalDisk } from '../../../src/records/journalDisk.ts';

const failure = (code: string) => Object.assign(new Error(code), { code });

it.runIf(process.platform === 'linux')('a folder that cannot be synced is not a failure of the disk', async () => {
  expect(() => fsyncSync(openSync('/proc', 'r'))).toThrow('EINVAL');
  await nodeDisk.syncDirectory('/proc');
  nodeJournalDisk.syncFolderOf('/proc/version');
});

it('a folder that does not exist is one', async () => {
  await expect(nodeDisk.syncDirectory('/proc/none')).rejects.toThrow('ENOENT');
  expect(() => nodeJournalDisk.syncFolderOf('/proc/none/file')).toThrow('ENOENT');
});

it.each(['EIO', 'ENOSPC', 'EDQUOT', 'EROFS', 'ESTALE', 'EBADF'])('%s is a failure of the disk', (code) => {
  expect(() => passUnsupportedFolderSync(failure(code), tmpdir())).toThrow(code);
});

it.each(['EINVAL', 'ENOSYS', 'EOPNOTSUPP', 'EISDIR'])('%s of a folder is not', (code) => {
  passUnsupportedFolderSync(failure(code), '/proc/none');
});

it('a folder that may be written but not synced is not, which is said once', async () => {
  const warnings: string[] = [];
  const listener = ({ message }: Error) => void warnings.push(message);
  process.on('warning', listener);
  try {
    for (const code of ['EACCES', 'EPERM']) passUnsupportedFolderSync(failure(code), tmpdir());
    await new Promise(setImmediate);
  } finally {
    process.off('warning', listener);
  }
  expect(warnings).toEqual([
    expect.stringMatching(
      / cannot be synced \(permission denied \(EACCES\)\): a power failure may lose its newest files/,
    ),
  ]);
});

it.each(['EACCES', 'EPERM'])('%s of a folder that may not be written is a failure', (code) => {
  expect(() => passUnsupportedFolderSync(failure(code), '/proc/none')).toThrow(code);
});
