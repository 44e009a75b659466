/**
 * Whether a folder can be made durable. Some file systems, as CIFS, 9p, DrvFs and some of FUSE, have no such operation: what they
 * answer is no failure of the disk. There a power cut may take the newest names with it, as it may take them from any program.
 */
import { errorCode } from './errors.ts';

const absent = new Set(['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EACCES', 'EPERM', 'EISDIR', 'EBADF']);

/** @throws the error, unless it says that this file system does not sync (or open) folders */
export function passUnsupportedFolderSync(error: unknown): void {
  if (!absent.has(errorCode(error))) throw error;
}
