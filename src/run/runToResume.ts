/**
 * Finds the run to resume: a directory of this machine or, by the prefix of its checkpoints in an object store, its newest checkpoint, which has
 * its config.
 */
import { existsSync } from 'node:fs';
import { UserError } from '../base/errors.ts';
import { isObjectPath, parseObjectPath } from '../base/objectPath.ts';
import { optionName } from '../base/ownCommand.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { stepOfFolderName } from '../checkpoint/folderNames.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import type { Config, ConfigInput } from '../config/configTypes.ts';
import { isPolicyKind } from '../task/kinds.ts';
import { checkpointsIn } from './checkpointsOfRun.ts';
import type { RunMessages } from './messages.ts';
import { existingRunFolder, newFolderNamed, newRunFolder, RunFolder } from './runFolder.ts';
import { checkStored } from './storedNote.ts';

/** What a caller of {@link runToResume} was told. */
interface ResumeArguments {
  readonly resume?: string | undefined;
  readonly runDir?: string | undefined;
  readonly config?: unknown;
  readonly initFrom?: string | undefined;
}

/** Nothing for a new run. */
export interface RunToResume {
  /** A run directory. */
  readonly existing?: RunFolder;
  /** For a run without one, which continues from the object store: a new one, and its newest checkpoint with the config in it. */
  readonly folder?: RunFolder;
  readonly checkpoint?: Checkpoint;
  readonly config?: ConfigInput;
}

/**
 * The run that the arguments name.
 * @throws UserError if it cannot be found or resumed; PeerError if the store cannot be reached
 */
export async function runToResume(
  { resume, runDir, config, initFrom }: ResumeArguments,
  cwd: string,
  { warn }: Pick<RunMessages, 'warn'>,
): Promise<RunToResume> {
  if (resume === undefined) return {};
  const inStore = isObjectPath(resume);
  if ((config ?? (inStore ? undefined : runDir) ?? initFrom) !== undefined) {
    throw new UserError(
      `${optionName('resume')} uses the config, directory and weights of the run: omit ${optionName('config')}, ${optionName('run-dir')} and ${optionName('init-from')}`,
    );
  }
  if (!inStore) return { existing: await existingRunFolder(resume || undefined, cwd) };
  return await storedRun(resume.replace(/\/+$/, ''), { runDir, cwd, warn });
}

async function storedRun(
  directory: string,
  { runDir, cwd, warn }: { runDir: string | undefined; cwd: string; warn: RunMessages['warn'] },
): Promise<RunToResume> {
  const { bucket, key } = parseObjectPath(directory);
  const name = key.split('/').at(-1) || bucket;
  if (stepOfFolderName(name) !== undefined) {
    throw new UserError(
      `${directory} is one checkpoint, and a run resumes from the newest: name the prefix, ${directory.slice(0, directory.lastIndexOf('/'))}, or begin a new run from its weights (${optionName('init-from')})`,
    );
  }
  const folder = runDir === undefined ? await folderOf(directory, name, cwd) : await newRunFolder(runDir, name, cwd);
  if (!folder.isNew) return { existing: folder };
  const newest = await new CheckpointStore(directory, { readOnly: true }).newestWhole();
  if (newest === undefined) {
    throw new UserError(
      `${directory} has no checkpoint to resume from: check the path, the endpoint and the keys; without ${optionName('resume')} a new run begins`,
    );
  }
  for (const { step, reason } of newest.skipped) warn(`skipped the checkpoint of step ${step}: ${reason}`);
  const { checkpoint } = newest;
  const { config } = checkpoint.trainer ?? {};
  if (config === undefined)
    throw new UserError(`${checkpoint.path} was not written by a run: use it with ${optionName('init-from')}`);
  const { checkpoint: group, task } = config as { checkpoint?: object; task?: { kind?: Config['task']['kind'] } };
  if (isPolicyKind(task?.kind ?? 'lm')) {
    throw new UserError(
      `${directory}: a run that learns from its own answers keeps them in its run directory, without which it cannot resume. Begin a new run from its weights (${optionName('init-from')})`,
    );
  }
  return {
    folder,
    checkpoint,
    // The prefix may have been copied from elsewhere.
    config: { ...config, checkpoint: { ...group, directory } } as ConfigInput,
  };
}

/** The directory in `runs/` of the run with these checkpoints, or a new one. One without a config is left from an attempt that failed. */
async function folderOf(directory: string, name: string, cwd: string): Promise<RunFolder> {
  for (let attempt = 1; ; attempt++) {
    const folder = newFolderNamed(name, attempt, cwd);
    if (!existsSync(folder.configPath)) return folder;
    if ((await checkpointsIn(folder.path)) === directory) return new RunFolder(folder.path);
  }
}

/** Whether the checkpoints of a run with this config are in an object store, and there are some. */
export async function hasStoredRun({ checkpoint: { directory } }: Pick<Config, 'checkpoint'>): Promise<boolean> {
  if (!isObjectPath(directory)) return false;
  const [newest] = await new CheckpointStore(directory, { readOnly: true }).list();
  return newest !== undefined;
}

export interface Resumed {
  /** Undefined if the run has not written a checkpoint yet. */
  readonly resume: Checkpoint | undefined;
  /** Whether the records in the object store are newer than those in the run directory. */
  readonly restoresRecords: boolean;
}

/** The newest checkpoint. @throws UserError if the run directory knows of some, and the object store has none */
export async function openResumed(
  { existing, checkpoint }: RunToResume,
  store: CheckpointStore,
  messages: RunMessages,
): Promise<Resumed> {
  if (checkpoint !== undefined) return { resume: checkpoint, restoresRecords: true };
  if (existing === undefined) return { resume: undefined, restoresRecords: false };
  const { directory } = store;
  const newest = await store.newestWhole();
  const found = newest?.checkpoint.trainer?.step;
  const restoresRecords = await checkStored(existing, { directory, found }, messages);
  if (newest === undefined) messages.warn(`${directory} has no checkpoint yet: the run starts from the beginning`);
  for (const { step, reason } of newest?.skipped ?? []) {
    messages.warn(`skipped the checkpoint of step ${step}: ${reason}`);
  }
  return { resume: newest?.checkpoint, restoresRecords };
}
