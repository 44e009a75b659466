/** Everything a run needs before it starts, from the command line: what can be wrong is found here, before anything is written. */
import { isDeepStrictEqual } from 'node:util';
import { UserError } from '../base/errors.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import { isLoopback } from '../comm/linkAddress.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { type Dataset, openDataset } from '../data/dataset.ts';
import { createEngine } from '../engine/registry.ts';
import { checkPrecision } from '../model/training.ts';
import { numberOption } from './modelOptions.ts';
import { print, warn } from './output.ts';
import { existingRunFolder, newRunFolder, type RunFolder } from './runFolder.ts';
import { shortPath } from './shortPath.ts';
import { statusLine } from './statusLine.ts';

/** The arguments of `launch train` that say what to train. */
export interface RunArguments {
  readonly config?: string | undefined;
  readonly workers?: number | undefined;
  readonly minWorkers?: number | undefined;
  readonly set?: readonly string[] | undefined;
  readonly runDir?: string | undefined;
  /** Empty: the newest run. */
  readonly resume?: string | undefined;
  readonly singleProcess: boolean;
  readonly listen?: string | undefined;
  readonly encrypt: boolean;
}

/** What a run needs before anything is started or written. */
export interface Run {
  readonly config: Config;
  readonly folder: RunFolder;
  readonly store: CheckpointStore;
  readonly resume: Checkpoint | undefined;
  readonly dataset: Dataset;
  /** Workers that the run waits for before it starts: those of this machine and those of others. */
  readonly worldSize: number;
  /** The fewest that it goes on with. */
  readonly minWorkers: number;
}

/** Config, run directory, checkpoint and data: everything that can be wrong is found here, before a worker starts. */
export async function prepareRun(args: RunArguments, cwd: string): Promise<Run> {
  if (args.workers !== undefined) numberOption('workers', args.workers, { min: 1, max: 1024, whole: true });
  const overrides = [...(args.set ?? []), ...(args.workers === undefined ? [] : [`train.workers=${args.workers}`])];
  const resuming = args.resume !== undefined;
  if (resuming && (args.config ?? args.runDir) !== undefined) {
    throw new UserError('--resume goes on with the config and directory of a run: leave out --config and --run-dir');
  }
  const existing = resuming ? await existingRunFolder(args.resume || undefined, cwd) : undefined;
  const { config, source } = loadConfig({ file: existing?.configPath ?? args.config, overrides, cwd });
  if (existing) sayWhatChanged(config, loadConfig({ file: existing.configPath, cwd }).config);
  const folder = existing ?? (await newRunFolder(args.runDir, source, cwd));
  const minWorkers = minWorkersOf(config, args.minWorkers);
  const worldSize = Math.max(config.train.workers, minWorkers);
  if (args.singleProcess && (args.listen !== undefined || worldSize > config.train.workers)) {
    throw new UserError('nobody can join a --single-process run: leave out --listen and --min-workers');
  }
  if (!args.encrypt && args.listen !== undefined && !(await isLoopback(args.listen))) {
    throw new UserError(
      `--no-encrypt is for this machine alone, and others reach ${args.listen}: leave it out, or listen on tcp://127.0.0.1:PORT`,
    );
  }
  await checkEngine(config);
  const dataset = await openDataset(config.data, {
    blockSize: config.model.blockSize,
    vocabSize: config.model.vocabSize,
    cwd,
    onProgress: statusLine('encoding the text'),
  });
  if (config.sample.maxTokens > 0) checkPrompt(config, dataset);
  const store = new CheckpointStore(folder.checkpointsPath, { keep: config.checkpoint.keep, onWarning: warn });
  const resume = resuming ? await openResume(store, config, dataset) : undefined;
  return { config, folder, store, resume, dataset, worldSize, minWorkers };
}

function minWorkersOf({ train }: Config, minWorkers = 1): number {
  numberOption('min-workers', minWorkers, { min: 1, max: 1024, whole: true });
  if (train.globalBatchSize < minWorkers) {
    throw new UserError(
      `train.globalBatchSize is ${train.globalBatchSize}, fewer sequences than the ${minWorkers} workers: raise it, or use fewer workers`,
    );
  }
  return minWorkers;
}

/** What a resumed run may change, and what a user may not think of when changing it. */
export function sayWhatChanged(now: Config, before: Config): void {
  // Parameters are float32 in either; but the run does not go on with the same bits.
  const { precision } = now.engine;
  if (before.engine.precision !== precision) {
    print(`engine.precision was ${before.engine.precision} and is ${precision} from here on`);
  }
  const [steps, stepsBefore] = [now.train.maxSteps, before.train.maxSteps];
  const { kind, decaySteps } = now.schedule;
  if (steps !== stepsBefore && kind === 'cosine' && decaySteps === 0 && before.schedule.decaySteps === 0) {
    print(
      `train.maxSteps was ${stepsBefore} and is ${steps}: the learning rate falls until then (schedule.decaySteps is 0), so it changes ` +
        `from here on; schedule.decaySteps=${stepsBefore} goes on with the curve it had`,
    );
  }
}

/** The prompt of the sample that ends the run: better refused now than hours later. */
function checkPrompt({ sample: { prompt } }: Config, { tokenizer }: Dataset): void {
  try {
    if (tokenizer.encode(prompt).length > 0) return;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`sample.prompt: ${error.message.replace(/\.$/, '')}; or set sample.maxTokens=0 for no sample`);
  }
  throw new UserError('sample.prompt is empty: expected at least one character, or sample.maxTokens=0 for no sample');
}

/** Starts the engine for a moment: one that is not there is better known now than by each worker. */
async function checkEngine({ engine: { name, device, precision } }: Config): Promise<void> {
  const engine = await createEngine({ name, device, threads: 1 });
  try {
    checkPrecision(engine, precision);
  } finally {
    await engine.dispose();
  }
}

/** The newest whole checkpoint, which must fit the config and the data. Undefined if the run has written none yet. */
async function openResume(store: CheckpointStore, config: Config, dataset: Dataset): Promise<Checkpoint | undefined> {
  const newest = await store.newestWhole();
  if (newest === undefined) {
    warn(`${store.directory} has no checkpoint yet: the run starts from the beginning`);
    return undefined;
  }
  const { checkpoint, skipped } = newest;
  for (const { step, reason } of skipped) warn(`skipped the checkpoint of step ${step}: ${reason}`);
  const { trainer, modelConfig } = checkpoint;
  const wanted = { ...config.model, vocabSize: dataset.vocabSize };
  for (const key of ['nLayer', 'nHead', 'nEmbd', 'blockSize', 'vocabSize', 'bias', 'activation', 'tiedHead'] as const) {
    if (wanted[key] !== modelConfig[key]) {
      throw new UserError(
        `${checkpoint.path} has model.${key} = ${modelConfig[key]}, but the config says ${wanted[key]}: a run resumes with its own model`,
      );
    }
  }
  if (trainer === undefined || !checkpoint.hasOptimizer) {
    throw new UserError(`${checkpoint.path} has no optimizer state: a run can only resume what a run has written`);
  }
  if (
    trainer.data.sha256 !== dataset.sha256 ||
    !isDeepStrictEqual(checkpoint.tokenizerFiles, dataset.tokenizer.files())
  ) {
    throw new UserError(
      `the text or the tokenizer has changed since ${checkpoint.path} was written: restore it, or start a new run`,
    );
  }
  if (trainer.seed !== config.train.seed) {
    throw new UserError(
      `the run has train.seed ${trainer.seed}, not ${config.train.seed}: a run resumes with its own seed`,
    );
  }
  print(`resuming ${shortPath(checkpoint.path)} (step ${trainer.step})`);
  return checkpoint;
}
