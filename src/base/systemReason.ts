/** What the system's codes of errors mean, for people: Node's own messages begin with `ENOENT:` and end with the name of a system call. */

const reasons: Readonly<Record<string, string>> = {
  // Files.
  EACCES: 'permission denied',
  EBUSY: 'another program is using it',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'it exists already',
  EFBIG: 'it would be larger than a file may be here',
  EIO: 'the disk reported an error',
  EISDIR: 'it is a folder, not a file',
  ELOOP: 'its links lead back to themselves',
  EMFILE: 'this process has too many files open; `ulimit -n` raises the limit',
  ENAMETOOLONG: 'its name is too long',
  ENFILE: 'this machine has too many files open',
  ENODEV: 'there is no such device',
  ENOENT: 'there is no such file or folder',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of its path is not a folder',
  ENOTEMPTY: 'the folder is not empty',
  EPERM: 'the system does not allow it',
  EROFS: 'the disk is read-only',
  ESTALE: 'the network drive was mounted again meanwhile',
  ETXTBSY: 'it is a program that is running',
  EXDEV: 'it would have to move to another disk',
  // Network.
  EADDRINUSE: 'another program listens there',
  EADDRNOTAVAIL: 'it is not an address of this machine',
  EAI_AGAIN: 'the name server does not answer',
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'the other side closed the connection',
  EHOSTUNREACH: 'there is no route to it',
  ENETUNREACH: 'there is no route to it',
  ENOTFOUND: 'the name is not known',
  EPIPE: 'the other side closed the connection',
  ETIMEDOUT: 'there was no answer in time',
};

/** `permission denied (EACCES)` for an error of the system; undefined for any other, and where the code says nothing that the message does not. */
export function systemReason(
  error: Error & { readonly code?: unknown; readonly syscall?: unknown },
): string | undefined {
  const { code, syscall } = error;
  // A program that is missing is named in the message alone.
  if (typeof code !== 'string' || String(syscall).startsWith('spawn')) return undefined;
  // What fs.rm finds out by itself has a code of Node's.
  const systemCode = code.replace(/^ERR_FS_/, '');
  const reason = Object.hasOwn(reasons, systemCode) ? reasons[systemCode] : undefined;
  return reason === undefined ? undefined : `${reason} (${systemCode})`;
}

/** What a system call does, for people; any other call is shown by its name. */
const actions: Readonly<Record<string, string>> = {
  // Files.
  access: 'access',
  copyfile: 'copy',
  fdatasync: 'sync',
  fstat: 'inspect',
  fsync: 'sync',
  ftruncate: 'resize',
  link: 'link',
  lstat: 'inspect',
  mkdir: 'create the folder',
  mkdtemp: 'create a folder',
  opendir: 'list the folder',
  realpath: 'resolve the path',
  rmdir: 'remove the folder',
  scandir: 'list the folder',
  stat: 'inspect',
  statfs: 'inspect the disk of',
  unlink: 'remove',
  // Network.
  bind: 'listen on',
  connect: 'connect to',
  getaddrinfo: 'look up',
  listen: 'listen on',
};

/**
 * `cannot open /data/a.txt: permission denied (EACCES)` or `cannot connect to 127.0.0.1:9000: nothing listens there (ECONNREFUSED)`, for an error
 * that a system call ended with; undefined for any other.
 */
export function failedCall(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error instanceof AggregateError) {
    // A connection was attempted to each address of a name.
    const each = new Set(error.errors.map(failedCall));
    return each.size === 0 || each.has(undefined) ? undefined : [...each].join('; ');
  }
  const { syscall, path, dest, address, port, hostname } = error as Partial<Record<string, unknown>> & Error;
  const reason = systemReason(error);
  if (typeof syscall !== 'string' || reason === undefined) return undefined;
  const action = Object.hasOwn(actions, syscall) ? actions[syscall]! : syscall;
  const target = path ?? (address === undefined ? hostname : placeOf(String(address), port));
  const call = target === undefined ? action.replace(/ (to|on|of)$/, '') : `${action} ${target}`;
  return `cannot ${call}${dest === undefined ? '' : ` to ${dest}`}: ${reason}`;
}

function placeOf(address: string, port: unknown): string {
  if (port === undefined) return address;
  return `${address.includes(':') ? `[${address}]` : address}:${port}`;
}
