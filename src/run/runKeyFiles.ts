/**
 * The key files of a run: `run.key`, which is the coordinator's and which `--resume` uses again, and `join.key`, for the machines that
 * join. A run makes both in its directory, or takes keys that were made before. They are for their owner's eyes only, or for a group to
 * which another user gave them, as Kubernetes does with Secrets. What is in them: `comm/runKeys.ts`.
 */
import { type FileHandle, lstat, mkdir, open } from 'node:fs/promises';
import { errorCode, messageOf, UserError } from '../base/errors.ts';
import { expandHome } from '../base/userPath.ts';
import { writeWhole } from '../base/writeWhole.ts';
import { joinKeysOf, joinKeyVariable, newRunKeys, parseRunKeys, type RunKeys, renderRunKeys } from '../comm/runKeys.ts';
import type { RunFolder } from './runFolder.ts';

/** Maximum size of a key file, in bytes. */
const fileBytesMax = 4_096;

/** The environment variable that can hold the contents of a `run.key`. */
export const runKeyVariable = 'LOCKSTEP_RUN_KEY';

type KeyPaths = Pick<RunFolder, 'path' | 'runKeyPath' | 'joinKeyPath'>;

/**
 * The keys of a run to resume, so that its workers can return; new keys if it had none, which `writeRunKeys` keeps.
 * @param given keys that were made before the run
 * @throws UserError if there is a `run.key` that cannot be used, or has other keys than those given
 */
export async function keysToResumeWith({ runKeyPath, path }: KeyPaths, given?: RunKeys): Promise<RunKeys> {
  if (given !== undefined) {
    // Not trusted but compared: a volume may have changed its mode.
    const kept = await readKeyFile(runKeyPath, { anyMode: true });
    if (kept === undefined || renderRunKeys(kept) === renderRunKeys(given)) return given;
    throw new UserError(
      `${path} has other keys than those given, so its workers could not return: omit --run-key (${runKeyVariable}), or delete ${runKeyPath}`,
    );
  }
  const keys = await readKeyFile(runKeyPath);
  if (keys === undefined) return newRunKeys();
  return coordinatorKeys(keys, runKeyPath, 'restore the file');
}

/** Writes both files of a run. */
export async function writeRunKeys({ runKeyPath, joinKeyPath }: KeyPaths, keys: RunKeys): Promise<void> {
  await writeKeyFile(runKeyPath, keys);
  await writeKeyFile(joinKeyPath, joinKeysOf(keys));
}

/** Makes both files before any run. @throws UserError if one of them exists, or the folder cannot be written */
export async function makeKeyFiles(folder: KeyPaths): Promise<void> {
  for (const path of [folder.runKeyPath, folder.joinKeyPath]) {
    const exists = await lstat(path).then(
      () => true,
      () => false,
    );
    if (exists) throw new UserError(`${path} exists, and workers may depend on it: choose another --out`);
  }
  try {
    await mkdir(folder.path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new UserError(`cannot make the folder ${folder.path}: ${messageOf(error)}`);
  }
  await writeRunKeys(folder, newRunKeys());
}

/**
 * The keys that a coordinator is given: the key file, else the content of LOCKSTEP_RUN_KEY, else none.
 * @throws UserError if what was given cannot be used
 */
export async function givenRunKeys(
  path: string | undefined,
  fromEnvironment: string | undefined,
): Promise<RunKeys | undefined> {
  const remedy = 'give it the run.key';
  if (path !== undefined) {
    const keys = await readKeyFile(expandHome(path));
    if (keys === undefined) throw new UserError(`--run-key: there is no file ${path}: make it with launch keys`);
    return coordinatorKeys(keys, path, remedy);
  }
  if (fromEnvironment === undefined) return undefined;
  return coordinatorKeys(parsed(fromEnvironment, runKeyVariable), runKeyVariable, remedy);
}

function coordinatorKeys(keys: RunKeys, from: string, remedy: string): RunKeys {
  if (keys.serverSecretKey !== undefined) return keys;
  throw new UserError(`${from}: expected the keys of the coordinator, received those for joining: ${remedy}`);
}

/**
 * What `launch join` joins with: the key file, else the content of LOCKSTEP_JOIN_KEY, else nothing.
 * @throws UserError if what was given cannot be used
 */
export async function joinKeys(
  path: string | undefined,
  fromEnvironment: string | undefined,
): Promise<RunKeys | undefined> {
  if (path !== undefined) {
    const keys = await readKeyFile(expandHome(path));
    if (keys === undefined)
      throw new UserError(`--key: there is no file ${path}: copy join.key from the run directory`);
    return joinKeysOf(keys);
  }
  if (fromEnvironment === undefined) return undefined;
  return joinKeysOf(parsed(fromEnvironment, joinKeyVariable));
}

/** @returns undefined if the file does not exist */
async function readKeyFile(path: string, { anyMode = false } = {}): Promise<RunKeys | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    const facts = await file.stat();
    if (!facts.isFile()) throw new UserError(`${path}: expected a key file, received no file`);
    if (!anyMode && isOpenToOthers(facts)) {
      throw new UserError(
        `${path} is open to other users (mode ${(facts.mode & 0o777).toString(8)}): chmod 600 ${path}`,
      );
    }
    const { buffer, bytesRead } = await file.read(Buffer.alloc(fileBytesMax + 1), 0, fileBytesMax + 1, 0);
    return parsed(buffer.toString('latin1', 0, bytesRead), path);
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error))) return undefined;
    throw new UserError(`cannot read the key file ${path}: ${messageOf(error)}`);
  } finally {
    await file?.close();
  }
}

/**
 * A group of this process may read a file of another user, who chose that: a Secret that Kubernetes mounts for a user other than root has
 * mode 0440. A file of the process's own user gets such a mode by accident, from `cp` in a shared group.
 */
function isOpenToOthers({
  mode,
  uid,
  gid,
}: {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}): boolean {
  if (process.platform === 'win32') return false;
  const groups = [process.getegid?.(), ...(process.getgroups?.() ?? [])];
  const isGiven = uid !== process.geteuid?.() && groups.includes(gid);
  return (mode & (isGiven ? 0o037 : 0o077)) !== 0;
}

function parsed(text: string, from: string): RunKeys {
  try {
    return parseRunKeys(text);
  } catch (error) {
    throw new UserError(`${from}: ${messageOf(error)}`);
  }
}

/** Written atomically, and never readable by others, not even for a moment. */
async function writeKeyFile(path: string, keys: RunKeys): Promise<void> {
  try {
    await writeWhole(path, renderRunKeys(keys), { mode: 0o600 });
  } catch (error) {
    throw new UserError(`cannot write the key file ${path}: ${messageOf(error)}`);
  }
}
