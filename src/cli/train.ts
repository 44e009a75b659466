/** `launch` and `launch train`: starts a coordinator and its workers, and sees a run through to its sample. */
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { UserError } from '../base/errors.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import { memoryTransport } from '../comm/memoryLink.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { loadConfig } from '../config/load.ts';
import { renderConfig } from '../config/render.ts';
import type { Config } from '../config/schema.ts';
import { Coordinator } from '../coordinator/coordinator.ts';
import { MetricsLog } from '../coordinator/metricsLog.ts';
import { type Dataset, openDataset } from '../data/dataset.ts';
import { forkWorkers, type LocalWorkers, startInProcess } from '../worker/spawn.ts';
import { printPlan } from './plan.ts';
import { encodingProgress, print, progressPrinter, warn } from './progress.ts';
import { existingRunFolder, newRunFolder, type RunFolder } from './runFolder.ts';

/** How long workers have to end by themselves once the run is over, before they are killed. */
const stopGraceMs = 3_000;
/** Only this machine, any free port. */
const loopback = 'tcp://127.0.0.1:0';
/** The exit code of a run that the user interrupted, as shells have it: 128 + SIGINT. */
const interruptedExitCode = 130;

const trainOptions = {
  config: {
    alias: 'c',
    type: 'string',
    describe: 'YAML file, or the name of a shipped one [default: quickstart.yaml]',
  },
  workers: { alias: 'w', type: 'number', describe: 'Worker processes on this machine (train.workers)' },
  'min-workers': {
    type: 'number',
    describe: 'Workers, with those of `launch join`, that must be there before the run starts [default: --workers]',
  },
  set: { type: 'string', array: true, requiresArg: true, describe: 'Override a key: model.nLayer=4' },
  'run-dir': { type: 'string', describe: 'Directory for metrics and checkpoints [default: runs/NAME]' },
  resume: { type: 'string', describe: 'Go on with the run in this directory, or with the newest in runs/' },
  'single-process': {
    type: 'boolean',
    default: false,
    describe: 'Coordinator and workers in one process, without sockets',
  },
  listen: { type: 'string', default: loopback, describe: 'Where workers join; port 0 lets the system choose' },
  'dry-run': { type: 'boolean', default: false, describe: 'Print sizes and memory, train nothing' },
} as const satisfies Record<string, Options>;

type TrainArguments = ArgumentsCamelCase<InferredOptionTypes<typeof trainOptions>>;

export const trainCommand: CommandModule<object, InferredOptionTypes<typeof trainOptions>> = {
  command: ['train', '$0'],
  describe: 'Train a GPT (the default command)',
  builder: (yargs) =>
    yargs
      .options(trainOptions)
      .example('$0', 'train a small model on the built-in text with 2 workers and print a sample')
      .example('$0 --workers 4 --config gpt-small.yaml', 'GPT-2 124M, data parallel over 4 processes')
      .example('$0 --config my.yaml --set train.maxSteps=500 optimizer.weightDecay=0', 'override keys')
      .example('$0 --resume runs/gpt-small', 'go on from the newest whole checkpoint')
      .example('$0 --listen tcp://0.0.0.0:5555 --workers 2 --min-workers 4', 'wait for 2 more from `launch join`'),
  handler: async (args) => {
    process.exitCode = await train(args);
  },
};

/** What a run needs before anything is started. */
interface Run {
  readonly config: Config;
  readonly folder: RunFolder;
  readonly store: CheckpointStore;
  readonly resume: Checkpoint | undefined;
  readonly dataset: Dataset;
}

async function train(args: TrainArguments): Promise<number> {
  const run = await prepare(args, process.cwd());
  if (args.dryRun) {
    printPlan(run.config, run.dataset);
    return 0;
  }
  await run.folder.claim();
  try {
    await writeFile(run.folder.configPath, renderConfig(run.config));
    const interrupted = await runToTheEnd(args, run);
    if (interrupted) {
      print(`stopped; go on with: launch --resume ${run.folder.path}`);
      return interruptedExitCode;
    }
    print(`done: ${run.folder.path}`);
    return 0;
  } finally {
    await run.folder.release();
  }
}

/** Config, run directory, checkpoint and data: everything that can be wrong is found here, before a worker starts. */
async function prepare(args: TrainArguments, cwd: string): Promise<Run> {
  const overrides = [...(args.set ?? []), ...(args.workers === undefined ? [] : [`train.workers=${args.workers}`])];
  const resuming = args.resume !== undefined;
  if (resuming && (args.config ?? args.runDir) !== undefined) {
    throw new UserError('--resume goes on with the config and directory of a run: leave out --config and --run-dir');
  }
  const existing = resuming ? await existingRunFolder(args.resume || undefined, cwd) : undefined;
  const { config, source } = loadConfig({ file: existing?.configPath ?? args.config, overrides, cwd });
  const folder = existing ?? (await newRunFolder(args.runDir, source, cwd));
  const dataset = await openDataset(config.data, {
    blockSize: config.model.blockSize,
    vocabSize: config.model.vocabSize,
    cwd,
    onProgress: encodingProgress(),
  });
  const store = new CheckpointStore(folder.checkpointsPath, { keep: config.checkpoint.keep, onWarning: warn });
  const resume = resuming ? await openResume(store, config, dataset) : undefined;
  return { config, folder, store, resume, dataset };
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
  print(`resuming ${checkpoint.path} (step ${trainer.step})`);
  return checkpoint;
}

/** Trains; true if the user ended the run early. */
async function runToTheEnd(args: TrainArguments, run: Run): Promise<boolean> {
  const { config, dataset, store, resume } = run;
  const ids = Array.from({ length: config.train.workers }, (_, i) => `local-${String(i).padStart(4, '0')}`);
  const worldSize = Math.max(args.minWorkers ?? ids.length, ids.length);
  if (config.train.globalBatchSize < worldSize) {
    throw new UserError(
      `train.globalBatchSize is ${config.train.globalBatchSize}, fewer sequences than the ${worldSize} workers: raise it, or use fewer workers`,
    );
  }
  // Once the run is over its workers hang up, which is no news.
  let isOver = false;
  const log = (message: string) => (isOver ? undefined : warn(message));
  const transport = args.singleProcess ? memoryTransport() : zmqTransport({ log });
  const metrics = await MetricsLog.open(run.folder.metricsPath, resume?.trainer?.step ?? 0, warn);
  const coordinator = await Coordinator.start({
    config,
    dataset,
    transport,
    listenAddress: args.singleProcess ? 'memory://coordinator' : args.listen,
    worldSize,
    localWorkers: new Set(ids),
    store,
    metrics,
    ...(resume !== undefined && { resume }),
    listener: progressPrinter({
      maxSteps: config.train.maxSteps,
      logEverySteps: config.train.logEverySteps,
      stepTokens: config.train.globalBatchSize * config.model.blockSize,
    }),
  });
  const start = {
    ids,
    coordinatorAddress: coordinator.address,
    cores: availableParallelism(),
    onExit: (id: string, description: string) => coordinator.workerExited(id, description),
  };
  const workers = args.singleProcess ? startInProcess(start, transport) : forkWorkers(start);
  printHeader(run, args, coordinator.address, worldSize);
  const signals = handleSignals(coordinator, workers);
  try {
    const step = await coordinator.finished;
    return signals.interrupted && step < config.train.maxSteps;
  } finally {
    isOver = true;
    await workers.stop(stopGraceMs);
    await coordinator.close();
    signals.restore();
  }
}

function printHeader({ config, dataset, folder }: Run, args: TrainArguments, address: string, worldSize: number): void {
  print(`run ${folder.path}`);
  print(`data ${dataset.description}`);
  const others = worldSize - config.train.workers;
  if (others > 0) print(`waiting for ${others} more: launch join ${address}`);
  else if (args.listen !== loopback) print(`listening on ${address}`);
}

/** The first SIGINT or SIGTERM ends the run in order, the second at once. */
function handleSignals(coordinator: Coordinator, workers: LocalWorkers) {
  const state = { interrupted: false, restore: () => {} };
  const onSignal = () => {
    if (state.interrupted) {
      void workers.stop(0).finally(() => process.exit(interruptedExitCode));
      return;
    }
    state.interrupted = true;
    print('stopping after this step, with a checkpoint; once more to stop at once');
    coordinator.requestStop();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  state.restore = () => {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  };
  return state;
}
