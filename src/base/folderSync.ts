/**
 * Whether a folder can be made durable. Some file systems, such as CIFS, 9p, DrvFs and some FUSE systems, do not support this
 * operation, and their error does not mean that the disk failed. On them a power failure may lose the newest names, as for any program.
 */
import { accessSync, constants } from 'node:fs';
import { errorCode, messageOf } from './errors.ts';

const withoutOperation = new Set(['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EISDIR']);
/** File systems that cannot open folders also report this error. On an ordinary disk it means a folder that may be written but not read. */
const withoutPermission = new Set(['EACCES', 'EPERM']);
let hasWarned = false;

/**
 * Emits one process warning if names in a writable folder cannot be made durable because a permission is missing.
 * @throws the error, unless it means that this file system does not sync (or open) folders
 */
export function passUnsupportedFolderSync(error: unknown, folder: string): void {
  const code = errorCode(error);
  if (withoutOperation.has(code)) return;
  if (!withoutPermission.has(code) || !mayWrite(folder)) throw error;
  if (hasWarned) return;
  hasWarned = true;
  process.emitWarning(
    `${folder} cannot be synced (${messageOf(error)}): a power failure may lose its newest files; make the folder readable`,
  );
}

function mayWrite(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
