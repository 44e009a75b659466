/**
 * Which checkpoint a command or a program takes: that of a path, a run's newest or its best, or those of the newest run. The one
 * place that decides it, for `generate`, `eval` and whatever else loads a model.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { UserError } from '../base/errors.ts';
import { isObjectPath } from '../base/objectPath.ts';
import { optionName, ownCommand } from '../base/ownCommand.ts';
import { shellWord } from '../base/shellWord.ts';
import { shortPath } from '../base/shortPath.ts';
import { storedPath } from '../base/userPath.ts';
import { isFile } from '../base/wholeFiles.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { isCheckpointFolder } from '../checkpoint/checkpointFolder.ts';
import { openCheckpoint } from '../checkpoint/openCheckpoint.ts';
import { CheckpointStore, type WholeCheckpoint } from '../checkpoint/store.ts';
import { isStoredFolder } from '../objectStore/storedFiles.ts';
import { MetricsLog } from '../records/metricsLog.ts';
import { checkpointsIn } from './checkpointsOfRun.ts';
import { RunFolder, runFolders, runsHint } from './runFolder.ts';
import { StoredRecords } from './storedRecords.ts';

export interface CheckpointChoice {
  /** A checkpoint, a run directory or a folder in Hugging Face's layout for GPT-2, or `s3://…`: a checkpoint or the place of a run's. Undefined: the newest run in `runs/` with a checkpoint. */
  readonly path: string | undefined;
  /** For a run: take the checkpoint with the lowest validation loss instead of the newest. Default false. */
  readonly best?: boolean | undefined;
  /** Relative paths start here. */
  readonly cwd: string;
  /** Told of each checkpoint or run that was passed over, with the reason and what was taken instead, and of a slow engine. */
  readonly onWarning: (message: string) => void;
  /** Told that another checkpoint of the run has a lower validation loss. */
  readonly onNote?: (message: string) => void;
}

/**
 * Opens the checkpoint that is meant.
 * @param choice `verify` says what is verified: all of it, or what inference reads
 * @throws UserError where there is none, where all are damaged, and for `best` where no validation loss is known
 */
export async function findCheckpoint(
  choice: CheckpointChoice & { readonly verify: 'all' | 'model' },
): Promise<Checkpoint> {
  const { cwd, verify, best = false } = choice;
  const folder = choice.path === undefined ? await newestRun(choice) : storedPath(cwd, choice.path);
  if (await isCheckpointFolder(folder)) {
    if (!best) return openCheckpoint(folder, { verify });
    throw new UserError(
      `${optionName('best')} selects one of a run's checkpoints, but ${shortPath(folder, cwd)} is a checkpoint: name a run directory, or omit ${optionName('best')}`,
    );
  }
  const directory = (await checkpointsIn(folder)) ?? folder;
  if (!(await isStoredFolder(directory))) {
    if (!isObjectPath(folder) && (await isFile(folder))) await refuseFile(folder, cwd);
    throw new UserError(
      `${isObjectPath(folder) ? '' : 'folder '}${shortPath(folder, cwd)} not found: expected a checkpoint, a run directory or a folder of GPT-2, Llama or MarianMT weights${isObjectPath(folder) ? '' : await runsHint(folder, cwd)}`,
    );
  }
  const store = new CheckpointStore(directory, { readOnly: true });
  const evaluations = await (isObjectPath(folder) ? storedEvaluationsOf(folder, best) : evaluationsOf(folder));
  store.useEvaluations(() => evaluations);
  const newest = await store.newestWhole({ verify });
  if (newest === undefined) {
    throw new UserError(
      `${shortPath(folder, cwd)} has no checkpoint: expected a step-… folder, a run directory that has one, or a folder with ` +
        'config.json and model.safetensors',
    );
  }
  if (!best) {
    const checkpoint = taken(newest, choice);
    const valLoss = newest.valLoss ?? Number.NaN;
    const skipped = new Set(newest.skipped.map(({ step }) => step));
    const least = (await store.measured()).find(({ step }) => !skipped.has(step));
    if (least !== undefined && least.valLoss < valLoss) {
      choice.onNote?.(
        `step ${least.step} has a lower validation loss, ${least.valLoss.toFixed(4)}: use ${optionName('best')} to select it`,
      );
    }
    return checkpoint;
  }
  const lowest = await store.bestWhole({ verify });
  if (lowest !== undefined) return taken(lowest, choice);
  throw new UserError(
    `no checkpoint in ${shortPath(directory, cwd)} has a validation loss, because the run was never evaluated ` +
      `(eval.everySteps): omit ${optionName('best')} to use the newest`,
  );
}

/** @throws UserError that names the checkpoint of which the file is a part, if there is one */
async function refuseFile(file: string, cwd: string): Promise<never> {
  const around = dirname(file);
  const isPart = /\.(safetensors|json)$/.test(file) && (await isCheckpointFolder(around));
  const name = isPart ? `: name its folder, ${shellWord(shortPath(around, cwd))}` : '';
  throw fileAsCheckpoint(shortPath(file, cwd), name);
}

/** @param advice completes the sentence, or adds one */
export function fileAsCheckpoint(file: string, advice: string): UserError {
  return new UserError(`${file} is a file, but a checkpoint or a run is a folder${advice}`);
}

/**
 * The evaluations of the run whose directory, or folder of checkpoints, this is. Its metrics know those that came after a checkpoint was
 * written, such as that of step 0.
 */
async function evaluationsOf(folder: string): Promise<MetricsLog['evaluations']> {
  const around = new RunFolder(dirname(folder));
  const { metricsPath } = around.checkpointsPath === folder ? around : new RunFolder(folder);
  return (await isFile(metricsPath)) ? MetricsLog.readEvaluations(metricsPath, Number.MAX_SAFE_INTEGER) : [];
}

/** Those that the run keeps beside its checkpoints; none if the newest checkpoint is wanted, which they do not choose. */
async function storedEvaluationsOf(directory: string, isWanted: boolean): Promise<MetricsLog['evaluations']> {
  if (!isWanted) return [];
  const copy = await mkdtemp(join(tmpdir(), 'lockstep-records-'));
  try {
    await new StoredRecords(directory, new RunFolder(copy)).restore(['metrics']);
    return await evaluationsOf(copy);
  } finally {
    await rm(copy, { recursive: true });
  }
}

/** Warns if an older or a worse model replaces the requested one. */
function taken(
  { checkpoint, valLoss, skipped }: WholeCheckpoint,
  { best = false, onWarning }: CheckpointChoice,
): Checkpoint {
  const isUnmeasured = best && valLoss === null;
  const used = `step ${checkpoint.step}${isUnmeasured ? ', which has no validation loss,' : ''}`;
  for (const { step, reason } of skipped) {
    onWarning(`skipped the checkpoint of step ${step}: ${reason}; using ${used} instead`);
  }
  return checkpoint;
}

/** A run that has just begun has no model yet. */
async function newestRun({ cwd, onWarning }: CheckpointChoice): Promise<string> {
  const runs = await runFolders(cwd);
  for (const [index, { path, checkpointsPath }] of runs.entries()) {
    const directory = (await checkpointsIn(path)) ?? checkpointsPath;
    if ((await new CheckpointStore(directory, { readOnly: true }).list()).length === 0) continue;
    for (const newer of runs.slice(0, index)) {
      onWarning(`${shortPath(newer.path, cwd)} has no checkpoint yet: using ${shortPath(path, cwd)}`);
    }
    return path;
  }
  const found = runs.length === 0 ? 'there are no runs in runs/ yet' : 'no run in runs/ has a checkpoint yet';
  throw new UserError(
    `${found}. Train one with \`${ownCommand()}\`, or choose a checkpoint, a run or a Hugging Face folder with --checkpoint PATH.`,
  );
}

const emitted = new Set<string>();

/** The default for callers without `onWarning`. A program that trains a model and loads it hears of a slow engine once. */
export function emitWarning(message: string): void {
  if (emitted.has(message)) return;
  emitted.add(message);
  process.emitWarning(message, 'LockstepWarning');
}
