/**
 * Whether a folder can be made durable. Some file systems, as CIFS, 9p, DrvFs and some of FUSE, have no such operation: what they
 * answer is no failure of the disk. There a power cut may take the newest names with it, as it may take them from any program.
 */
import { accessSync, constants } from 'node:fs';
import { errorCode, messageOf } from './errors.ts';

const withoutOperation = new Set(['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EISDIR']);
/** File systems that do not open folders say so as well; but on an ordinary disk it is a folder that may be written and not be read. */
const withoutPermission = new Set(['EACCES', 'EPERM']);
let hasWarned = false;

/**
 * A warning of the process says, once, that names in a folder that may be written are not made durable for want of a permission.
 * @throws the error, unless it says that this file system does not sync (or open) folders
 */
export function passUnsupportedFolderSync(error: unknown, folder: string): void {
  const code = errorCode(error);
  if (withoutOperation.has(code)) return;
  if (!withoutPermission.has(code) || !mayWrite(folder)) throw error;
  if (hasWarned) return;
  hasWarned = true;
  process.emitWarning(
    `${folder} cannot be synced (${messageOf(error)}): a power cut may take its newest files; allow it to be read`,
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
