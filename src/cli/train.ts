/** `launch` and `launch train`: starts a coordinator and its workers, and sees a run through to its sample. */
import { availableParallelism } from 'node:os';
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { PeerError } from '../base/errors.ts';
import type { ControlServer, Transport } from '../comm/link.ts';
import { memoryTransport } from '../comm/memoryLink.ts';
import { joinKeysOf, newRunKeys, type RunKeys } from '../comm/runKeys.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { renderConfig } from '../config/render.ts';
import type { CheckpointOutcome } from '../coordinator/checkpointer.ts';
import { Coordinator } from '../coordinator/coordinator.ts';
import { MetricsLog } from '../coordinator/metricsLog.ts';
import { selectEngine } from '../engine/registry.ts';
import { forkWorkers, type LocalWorkers, startInProcess, type WorkerExit } from '../worker/spawn.ts';
import { interruptedExitCode } from './interrupt.ts';
import { printPlan } from './plan.ts';
import { prepareRun, type Run } from './prepareRun.ts';
import { print, progressPrinter, warn } from './progress.ts';
import type { RunFolder } from './runFolder.ts';
import { keysToResumeWith, writeRunKeys } from './runKeyFiles.ts';
import { printSample } from './sample.ts';

/** How long workers have to end by themselves once the run is over, before they are killed. */
const stopGraceMs = 3_000;
/** How long a run that is stopped at once may take to remove what it was writing. */
const cleanUpMs = 1_000;
/** Only this machine, any free port. */
const loopback = 'tcp://127.0.0.1:0';

const trainOptions = {
  config: {
    alias: 'c',
    type: 'string',
    requiresArg: true,
    describe: 'YAML file, or the name of a shipped one [default: quickstart.yaml]',
  },
  workers: {
    alias: 'w',
    type: 'number',
    requiresArg: true,
    describe: 'Worker processes on this machine (train.workers)',
  },
  'min-workers': {
    type: 'number',
    requiresArg: true,
    describe: 'Workers, with those of `launch join`, that must be there before the run starts [default: --workers]',
  },
  set: { type: 'string', array: true, requiresArg: true, describe: 'Override a key: model.nLayer=4' },
  'run-dir': {
    type: 'string',
    requiresArg: true,
    describe: 'Directory for metrics and checkpoints [default: runs/NAME]',
  },
  resume: { type: 'string', describe: 'Go on with the run in this directory, or with the newest in runs/' },
  'single-process': {
    type: 'boolean',
    default: false,
    describe: 'Coordinator and workers in one process, without sockets',
  },
  listen: {
    type: 'string',
    requiresArg: true,
    describe: 'Where workers join; port 0 lets the system choose [default: tcp://127.0.0.1:0]',
  },
  encrypt: {
    type: 'boolean',
    default: true,
    describe:
      'Encrypt all connections with the keys in the run directory; --no-encrypt: only where nobody else can listen',
  },
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

async function train(args: TrainArguments): Promise<number> {
  const run = await prepareRun(args, process.cwd());
  if (args.dryRun) {
    printPlan(run.config, run.dataset);
    return 0;
  }
  const stepsDone = run.resume?.trainer?.step ?? 0;
  if (stepsDone >= run.config.train.maxSteps) {
    print(
      `nothing left to train: ${run.folder.path} has come to step ${stepsDone} of ${run.config.train.maxSteps}; ` +
        `to go on, raise the last step: --set train.maxSteps=${2 * stepsDone}`,
    );
    return 0;
  }
  const keys = await keysOf(args, run);
  const transport = args.singleProcess ? memoryTransport() : zmqTransport({ log: warn, keys });
  const address = args.singleProcess ? 'memory://coordinator' : (args.listen ?? loopback);
  // Before anything is written: a port in use leaves no run directory behind.
  const server = await transport.listen(address);
  try {
    await run.folder.claim();
    try {
      await run.folder.writeConfig(renderConfig(run.config));
      if (keys) await writeRunKeys(run.folder, keys);
      if (await runToTheEnd(args, run, keys, transport, server)) {
        print(`stopped; go on with: launch --resume ${run.folder.path}`);
        return interruptedExitCode;
      }
    } catch (error) {
      if (!(error instanceof PeerError)) throw error;
      throw new PeerError(`${error.message}\n${await resumeHint(run)}`, { cause: error });
    } finally {
      await run.folder.release();
    }
  } finally {
    await server.close();
  }
  await printSample(run.config, run.folder.path);
  print(`done: ${run.folder.path}`);
  return 0;
}

/** None where nothing is to be encrypted. */
async function keysOf(
  { encrypt, singleProcess, resume }: TrainArguments,
  { folder }: Run,
): Promise<RunKeys | undefined> {
  if (!encrypt || singleProcess) return undefined;
  return resume === undefined ? newRunKeys() : await keysToResumeWith(folder);
}

/** What a user can do about a run that failed. */
async function resumeHint({ store, folder }: Run): Promise<string> {
  const newest = (await store.list()).find(({ problem }) => problem === undefined);
  return newest === undefined
    ? 'no checkpoint was written yet (checkpoint.everySteps): the run can only start again'
    : `go on from step ${newest.step} with: launch --resume ${folder.path}`;
}

/** Trains; true if the user ended the run early. */
async function runToTheEnd(
  args: TrainArguments,
  run: Run,
  keys: RunKeys | undefined,
  transport: Transport,
  server: ControlServer,
): Promise<boolean> {
  const { config, dataset, store, resume, worldSize } = run;
  const ids = Array.from({ length: config.train.workers }, (_, i) => `local-${String(i).padStart(4, '0')}`);
  const metrics = await MetricsLog.open(run.folder.metricsPath, resume?.trainer?.step ?? 0, warn);
  const printer = progressPrinter({
    maxSteps: config.train.maxSteps,
    logEverySteps: config.train.logEverySteps,
    stepTokens: config.train.globalBatchSize * config.model.blockSize,
  });
  let lastCheckpoint: CheckpointOutcome | undefined;
  const coordinator = new Coordinator({
    config,
    dataset,
    server,
    worldSize,
    localWorkers: new Set(ids),
    store,
    metrics,
    token: keys?.token,
    ...(resume !== undefined && { resume }),
    listener: {
      ...printer,
      checkpoint(outcome) {
        lastCheckpoint = outcome;
        printer.checkpoint(outcome);
      },
    },
  });
  const start = {
    ids,
    coordinatorAddress: server.address,
    cores: availableParallelism(),
    keys: keys && joinKeysOf(keys),
    onExit: (exit: WorkerExit) => coordinator.workerExited(exit),
  };
  let workers: LocalWorkers | undefined;
  const signals = handleSignals(coordinator, () => workers, run.folder);
  try {
    workers = args.singleProcess ? startInProcess(start, transport) : forkWorkers(start);
    printHeader(run, args, server.address, keys !== undefined);
    const step = await coordinator.finished;
    if (lastCheckpoint !== undefined && 'error' in lastCheckpoint) {
      throw new PeerError(
        `the run came to step ${step}, but its last checkpoint could not be written: ${lastCheckpoint.error}; make room`,
      );
    }
    return signals.interrupted && step < config.train.maxSteps;
  } finally {
    await workers?.stop(stopGraceMs);
    await coordinator.close();
    signals.restore();
  }
}

function printHeader(
  { config, dataset, folder, worldSize }: Run,
  args: TrainArguments,
  address: string,
  encrypted: boolean,
): void {
  print(`run ${folder.path}`);
  print(`data ${dataset.description}`);
  if (config.engine.name === 'auto') {
    const { name, device, reason } = selectEngine(config.engine);
    print(`engine ${name} (${device}): ${reason}`);
  }
  const others = worldSize - config.train.workers;
  const join = `launch join ${address}${encrypted ? ` --key ${shellWord(folder.joinKeyPath)}` : ''}`;
  if (others > 0) print(`waiting for ${others} more: ${join}`);
  else if (args.listen !== undefined) print(`listening on ${address} (${join})`);
}

/** The first SIGINT or SIGTERM ends the run in order, the second at once. */
function handleSignals(coordinator: Coordinator, workers: () => LocalWorkers | undefined, folder: RunFolder) {
  const state = { interrupted: false, restore: () => {} };
  const onSignal = () => {
    if (!state.interrupted) {
      state.interrupted = true;
      print('stopping after this step, with a checkpoint; once more to stop at once');
      coordinator.requestStop();
      return;
    }
    const exit = () => process.exit(interruptedExitCode);
    setTimeout(exit, cleanUpMs);
    void Promise.all([workers()?.stop(0), coordinator.close(), folder.release()]).finally(exit);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  state.restore = () => {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  };
  return state;
}

/** A path as a shell takes it. */
function shellWord(path: string): string {
  return /^[\w./@%+=:,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
