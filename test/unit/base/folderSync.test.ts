/** /proc is a file system of Linux whose folders cannot be synced: it answers EINVAL, as CIFS does. */
import { fsyncSync, openSync } from 'node:fs';
import { expect, it } from 'vitest';
import { nodeDisk } from '../../../src/base/diskOperations.ts';
import { passUnsupportedFolderSync } from '../../../src/base/folderSync.ts';
import { nodeJournalDisk } from '../../../src/records/journalDisk.ts';

const failure = (code: string) => Object.assign(new Error(code), { code });

it.runIf(process.platform === 'linux')('a folder that cannot be synced is no failure of the disk', async () => {
  expect(() => fsyncSync(openSync('/proc', 'r'))).toThrow('EINVAL');
  await nodeDisk.syncDirectory('/proc');
  nodeJournalDisk.syncFolderOf('/proc/version');
});

it('a folder that is not there is one', async () => {
  await expect(nodeDisk.syncDirectory('/proc/none')).rejects.toThrow('ENOENT');
  expect(() => nodeJournalDisk.syncFolderOf('/proc/none/file')).toThrow('ENOENT');
});

it.each(['EIO', 'ENOSPC', 'EDQUOT', 'EROFS', 'ESTALE'])('%s is a failure of the disk', (code) => {
  expect(() => passUnsupportedFolderSync(failure(code))).toThrow(code);
});

it.each(['EINVAL', 'ENOSYS', 'EOPNOTSUPP', 'EACCES'])('%s of a folder is none', (code) => {
  passUnsupportedFolderSync(failure(code));
});
