/**
 * The key files of a run directory: `run.key`, which is the coordinator's and which `--resume` uses again, and `join.key`, to be
 * copied to the machines that join. Both are for their owner's eyes only. What is in them: `comm/runKeys.ts`.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { errorCode, messageOf, UserError } from '../base/errors.ts';
import { expandHome } from '../base/userPath.ts';
import { writeWhole } from '../base/writeWhole.ts';
import { joinKeysOf, newRunKeys, parseRunKeys, type RunKeys, renderRunKeys } from '../comm/runKeys.ts';
import type { RunFolder } from './runFolder.ts';

/** Maximum size of a key file, in bytes. */
const fileBytesMax = 4_096;

/** The environment variable that can hold the contents of a `join.key`. */
export const joinKeyVariable = 'LOCKSTEP_JOIN_KEY';

/**
 * The keys of a run to resume, so that its workers can return; new keys if it had none, which `writeRunKeys` keeps.
 * @throws UserError if there is a `run.key` that cannot be used
 */
export async function keysToResumeWith({ runKeyPath }: RunFolder): Promise<RunKeys> {
  const keys = await readKeyFile(runKeyPath);
  if (keys === undefined) return newRunKeys();
  if (keys.serverSecretKey !== undefined) return keys;
  throw new UserError(`${runKeyPath}: expected the keys of the coordinator, found those for joining: restore the file`);
}

/** Writes both files of a run. */
export async function writeRunKeys({ runKeyPath, joinKeyPath }: RunFolder, keys: RunKeys): Promise<void> {
  await writeKeyFile(runKeyPath, keys);
  await writeKeyFile(joinKeyPath, joinKeysOf(keys));
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

/** Undefined if there is no such file. */
async function readKeyFile(path: string): Promise<RunKeys | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    const facts = await file.stat();
    if (!facts.isFile()) throw new UserError(`${path}: expected a key file, received no file`);
    const mode = facts.mode & 0o777;
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new UserError(`${path} is open to other users (mode ${mode.toString(8)}): chmod 600 ${path}`);
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
