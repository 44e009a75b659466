/** `launch` and `launch train`: starts a coordinator and its workers, and sees a run through to its sample. */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { PeerError, UserError } from '../base/errors.ts';
import { FlightRecorder } from '../base/flightRecorder.ts';
import { stepFlops } from '../bench/stepBench.ts';
import type { ControlServer, Transport } from '../comm/link.ts';
import { memoryTransport } from '../comm/memoryLink.ts';
import { joinKeysOf, newRunKeys, type RunKeys } from '../comm/runKeys.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { renderConfig } from '../config/render.ts';
import type { CheckpointOutcome } from '../coordinator/checkpointer.ts';
import { Coordinator } from '../coordinator/coordinator.ts';
import { allListeners } from '../coordinator/coordinatorOptions.ts';
import { EventsLog } from '../coordinator/eventsLog.ts';
import { MetricsLog } from '../coordinator/metricsLog.ts';
import { selectEngine } from '../engine/registry.ts';
import { forkWorkers, type LocalWorkers, startInProcess, type WorkerExit } from '../worker/spawn.ts';
import { interruptedExitCode } from './interrupt.ts';
import { numberOption } from './modelOptions.ts';
import { conclude, print, warn } from './output.ts';
import { printPlan } from './plan.ts';
import { prepareRun, type Run } from './prepareRun.ts';
import { findWaitingWorkers, openJournal, type ResumePoint, reachable } from './resumePoint.ts';
import type { RunFolder } from './runFolder.ts';
import { keysToResumeWith, writeRunKeys } from './runKeyFiles.ts';
import { openRunOutput, outputModeOf, withOutput } from './runOutput.ts';
import { printSample } from './sample.ts';
import { shortPath } from './shortPath.ts';

/** How long workers have to end by themselves once the run is over, before they are killed. */
const stopGraceMs = 3_000;
/** How long a run that is stopped at once may take to remove what it was writing. */
const cleanUpMs = 1_000;
/** Only this machine, any free port. */
const loopback = 'tcp://127.0.0.1:0';

export const trainOptions = {
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
    default: 1,
    describe: 'Fewest workers, with those of `launch join`, that the run starts and goes on with; below it waits',
  },
  'max-restarts': {
    type: 'number',
    requiresArg: true,
    default: 10,
    describe: 'How often, over the whole run, workers of this machine that died are started again',
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
  plain: { type: 'boolean', describe: 'A line now and then, as into a file, also on a terminal' },
  quiet: { alias: 'q', type: 'boolean', describe: 'Print warnings, errors and the last line only' },
  json: { type: 'boolean', describe: 'Print JSON lines: every step, evaluation, checkpoint, event, warning' },
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
      .example('$0 --listen tcp://0.0.0.0:5555 --workers 2 --min-workers 4', 'wait for 2 more from `launch join`')
      .example('$0 --workers 4 --min-workers 2', 'go on with 2 or more of 4 when workers die'),
  handler: async (args) => {
    process.exitCode = await withOutput(outputModeOf(args, process.stdout.isTTY), () => train(args));
  },
};

async function train(args: TrainArguments): Promise<number> {
  const run = await prepareRun(args, process.cwd());
  if (args.dryRun) {
    await printPlan(run.config, run.dataset);
    return 0;
  }
  numberOption('max-restarts', args.maxRestarts, { min: 0, max: 1_000_000, whole: true });
  const { folder } = run;
  // A directory that exists is claimed before its journal is read; a new one is made when nothing more can be wrong.
  if (args.resume !== undefined) await folder.claim();
  try {
    // Beyond the checkpoint there may be workers with more: even after the last step, its checkpoint is still to be written.
    const stepsDone = run.resume?.trainer?.step ?? 0;
    const point = args.resume === undefined ? undefined : findWaitingWorkers(folder, stepsDone);
    if (stepsDone >= run.config.train.maxSteps) {
      conclude(
        `nothing left to train: ${shortPath(folder.path)} has come to step ${stepsDone} of ${run.config.train.maxSteps}; ` +
          `to go on, raise the last step: --set train.maxSteps=${2 * stepsDone}`,
      );
      return 0;
    }
    if (await trainFrom(args, run, point)) {
      conclude(`stopped; go on with: launch --resume ${shellWord(shortPath(folder.path))}`);
      return interruptedExitCode;
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    const flight = existsSync(folder.flightPath)
      ? `\nwhat every process did last is in ${shortPath(folder.flightPath)}`
      : '';
    if (!(error instanceof PeerError)) {
      if (flight !== '') warn(flight.trim());
      throw error;
    }
    throw new PeerError(`${error.message}\n${await resumeHint(run)}${flight}`, { cause: error });
  } finally {
    await folder.release();
  }
  await printSample(run.config, run.folder.path);
  conclude(`done: ${shortPath(run.folder.path)}`);
  return 0;
}

/** Listens, claims a new directory, trains; true if the user ended the run early. */
async function trainFrom(args: TrainArguments, run: Run, point: ResumePoint | undefined): Promise<boolean> {
  const keys = await keysOf(args, run);
  const transport = args.singleProcess ? memoryTransport() : zmqTransport({ log: warn, keys });
  const address = args.singleProcess ? 'memory://coordinator' : (args.listen ?? point?.recovered.address ?? loopback);
  const server = await transport.listen(address);
  try {
    if (args.resume === undefined) await run.folder.claim();
    // What it has to tell is of an earlier failure.
    await rm(run.folder.flightPath, { recursive: true, force: true });
    await run.folder.writeConfig(renderConfig(run.config));
    if (keys) await writeRunKeys(run.folder, keys);
    return await runToTheEnd({ args, run, point: reachable(point, server.address), keys, transport, server });
  } finally {
    await server.close();
  }
}

/** None where nothing is to be encrypted. */
async function keysOf(
  { encrypt, singleProcess, resume }: TrainArguments,
  { folder }: Run,
): Promise<RunKeys | undefined> {
  if (!encrypt || singleProcess) return undefined;
  return resume === undefined ? newRunKeys() : await keysToResumeWith(folder);
}

interface Start {
  readonly args: TrainArguments;
  readonly run: Run;
  readonly point: ResumePoint | undefined;
  readonly keys: RunKeys | undefined;
  readonly transport: Transport;
  readonly server: ControlServer;
}

/** What a user can do about a run that failed. */
async function resumeHint({ store, folder }: Run): Promise<string> {
  const newest = (await store.list()).find(({ problem }) => problem === undefined);
  return newest === undefined
    ? 'no checkpoint was written yet (checkpoint.everySteps): the run can only start again'
    : `go on from step ${newest.step} with: launch --resume ${shellWord(shortPath(folder.path))}`;
}

/** Trains; true if the user ended the run early. */
async function runToTheEnd({ args, run, point, keys, transport, server }: Start): Promise<boolean> {
  const { config, dataset, store, resume, worldSize, minWorkers } = run;
  const localWorkers = Array.from({ length: config.train.workers }, (_, i) => `local-${String(i).padStart(4, '0')}`);
  const startStep = resume?.trainer?.step ?? 0;
  const { journal, runId } = openJournal(run.folder, server.address, point, startStep);
  const stepsDone = point?.resumed.step ?? startStep;
  const metrics = await MetricsLog.open(run.folder.metricsPath, stepsDone, warn, point?.recovered.commits);
  const events = await EventsLog.open(run.folder.eventsPath, warn);
  let lastCheckpoint: CheckpointOutcome | undefined;
  let coordinator: Coordinator | undefined;
  const output = openRunOutput(outputModeOf(args, process.stdout.isTTY), {
    maxSteps: config.train.maxSteps,
    logEverySteps: config.train.logEverySteps,
    stepTokens: config.train.globalBatchSize * config.model.blockSize,
    startStep: stepsDone,
    runDir: run.folder.path,
    state: () => coordinator?.state,
  });
  const start = {
    coordinatorAddress: server.address,
    workersOnHost: config.train.workers,
    cores: availableParallelism(),
    keys: keys && joinKeysOf(keys),
    flightFolder: run.folder.flightPath,
    onExit: (exit: WorkerExit) => coordinator?.workerExited(exit),
    onOutput: output.onWorkerOutput,
  };
  const workers = args.singleProcess ? startInProcess(start, transport) : forkWorkers(start);
  coordinator = new Coordinator({
    stepFlops: stepFlops(
      { ...config.model, vocabSize: dataset.vocabSize },
      config.train.globalBatchSize * config.model.blockSize,
    ),
    ...{ runId, config, dataset, server, worldSize, minWorkers, localWorkers, store, metrics, events, journal },
    restartsMax: args.singleProcess ? 0 : args.maxRestarts,
    open: args.listen !== undefined || point !== undefined || worldSize > config.train.workers,
    startWorker: (worker) => workers.start(worker),
    killWorker: (worker) => workers.kill(worker),
    token: keys?.token,
    recorder: new FlightRecorder({ folder: run.folder.flightPath, name: 'coordinator' }),
    ...(resume !== undefined && { resume }),
    ...(point !== undefined && { resumed: point.resumed }),
    listener: allListeners([
      output.listener,
      {
        checkpoint(outcome) {
          lastCheckpoint = outcome;
        },
      },
    ]),
  });
  const signals = handleSignals(coordinator, workers, run.folder);
  try {
    const waiting = point?.resumed.workers ?? [];
    for (const worker of localWorkers) if (!waiting.includes(worker)) workers.start(worker);
    printHeader(run, args, server.address, keys !== undefined);
    const step = await coordinator.finished;
    if (lastCheckpoint !== undefined && 'error' in lastCheckpoint) {
      throw new PeerError(
        `the run came to step ${step}, but its last checkpoint could not be written: ${lastCheckpoint.error}; make room`,
      );
    }
    return signals.interrupted && step < config.train.maxSteps;
  } finally {
    await workers.stop(stopGraceMs);
    await coordinator.close();
    signals.restore();
    output.close();
  }
}

function printHeader(
  { config, dataset, folder, worldSize }: Run,
  args: TrainArguments,
  address: string,
  encrypted: boolean,
): void {
  print(`run ${shortPath(folder.path)}`);
  print(`data ${dataset.description}`);
  if (config.engine.name === 'auto') {
    const { name, device, reason } = selectEngine(config.engine);
    print(`engine ${name} (${device}): ${reason}`);
  }
  const others = worldSize - config.train.workers;
  const join = `launch join ${address}${encrypted ? ` --key ${shellWord(shortPath(folder.joinKeyPath))}` : ''}`;
  if (others > 0) print(`waiting for ${others} more: ${join}`);
  else if (args.listen !== undefined) print(`listening on ${address} (${join})`);
}

/** The first SIGINT or SIGTERM ends the run in order, the second at once. */
function handleSignals(coordinator: Coordinator, workers: LocalWorkers, folder: RunFolder) {
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
    void Promise.all([workers.stop(0), coordinator.close(), folder.release()]).finally(exit);
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
