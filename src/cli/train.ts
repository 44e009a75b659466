/**
 * `launch` and `launch train`: show a run while it trains, end it on Ctrl-C, and print its sample. `trainOptions.ts` has the options,
 * `run/executeRun.ts` the run itself.
 */
import { join } from 'node:path';
import { interruptedExitCode, UserError, unfinishedExitCode } from '../base/errors.ts';
import { countOf, grouped } from '../base/numberText.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { shortPath } from '../base/shortPath.ts';
import { expandHome } from '../base/userPath.ts';
import { isLoopback, joinAddresses } from '../comm/linkAddress.ts';
import type { Config } from '../config/configTypes.ts';
import { renderConfig } from '../config/render.ts';
import { bestOf, type EvaluatedLoss } from '../coordinator/core/bestEvaluation.ts';
import { type EngineChoice, selectEngine } from '../engine/registry.ts';
import { executeRun } from '../run/executeRun.ts';
import type { RunOutcome } from '../run/execution.ts';
import type { RunMessages } from '../run/messages.ts';
import { prepareRun, type Run } from '../run/prepareRun.ts';
import { givenRunKeys } from '../run/runKeyFiles.ts';
import type { RunObserver, RunView, StartedRun } from '../run/runObserver.ts';
import { CheckpointSamples } from './checkpointSamples.ts';
import { type EndCause, endInOrder, insistHint, isSchedulers } from './endRequests.ts';
import { keysInEnvironment } from './keyVariables.ts';
import { numberOption, portOption } from './options.ts';
import { conclude, print, warn } from './output.ts';
import { goOnWithoutPrinting, onPrintFailure } from './outputFailures.ts';
import { printPlan } from './plan.ts';
import { checkPorts, ringPlaceOf } from './ringOptions.ts';
import { openRunOutput, outputModeOf, withOutput } from './runOutput.ts';
import { printSample } from './sample.ts';
import { printSweep } from './sweepResult.ts';
import { statusLine } from './terminal.ts';
import type { TrainArguments } from './trainOptions.ts';
import { joinCommand, WaitingHint, waitingText } from './waitingHint.ts';

/** The time that a run has to remove unfinished files when it is stopped at once. */
const cleanUpMs = 1_000;

const messages: RunMessages = { note: print, warn, progress: statusLine };

/** What a run on the nodes of a job has beyond one that a person starts: `launch cluster`. */
export interface JobSite {
  /** Number of workers on all nodes, which the run waits for at its start. */
  readonly startWorkers: number;
  /** Cores for the workers of this node. */
  readonly cores: number;
  /** Whether to continue a run that the config's object store has and this machine has not. */
  readonly continuesStored: boolean;
  /** Called once this process has claimed the run directory. */
  readonly claimed: () => Promise<void>;
  /** Called when the run listens. */
  readonly started: (run: StartedRun, view: RunView) => void;
  /** Called at the end, while this process still has the run directory. */
  readonly ended: (end: SiteEnd) => Promise<void>;
}

/** `unfinished`: a scheduler's signal has ended the run before its last step; `interrupted`: a person has. Its checkpoint is written. */
export type SiteEnd =
  | { readonly kind: 'complete' | 'unfinished' | 'interrupted' }
  | { readonly kind: 'failed'; readonly error: Error };

/** Trains with the options of the command line and sets the exit code. */
export async function runTrain(args: TrainArguments): Promise<void> {
  process.exitCode = await withOutput(outputModeOf(args, process.stdout.isTTY), () => train(args));
}

/** Trains with the options of the command line. @returns the exit code */
export async function train(args: TrainArguments, site?: JobSite): Promise<number> {
  goOnWithoutPrinting();
  checkNumbers(args);
  const keys = await keysOf(args);
  const ring = ringPlaceOf(args.ringPorts, args.listen !== undefined && !(await isLoopback(args.listen)));
  const { startWorkers, continuesStored } = site ?? {};
  const run = await prepareRun({ ...args, startWorkers, continuesStored }, process.cwd(), messages);
  checkPorts(ring, run.config.train.workers);
  if (args.dryRun) {
    await printPlan(run.config, run.data);
    return 0;
  }
  const { config, folder } = run;
  const { singleProcess, encrypt, listen, advertise, maxRestarts, trace } = args;
  let stopCause: EndCause | undefined;
  const siteEnd = (outcome: RunOutcome | Error): SiteEnd => {
    if (outcome instanceof Error) return { kind: 'failed', error: outcome };
    if (outcome.end !== 'stopped') return { kind: 'complete' };
    return { kind: stopCause !== undefined && isSchedulers(stopCause) ? 'unfinished' : 'interrupted' };
  };
  const outcome = await executeRun({
    run,
    cores: site?.cores,
    leavesOnSignal: site === undefined,
    singleProcess,
    encrypt,
    keys,
    listen,
    advertise,
    ring,
    maxRestarts,
    traceSteps: trace,
    messages,
    observe: (view) =>
      observe(args, run, view, {
        hasScheduler: site !== undefined,
        started: (started) => site?.started(started, view),
        onStop: (cause) => {
          stopCause = cause;
        },
      }),
    claimed: site?.claimed,
    ending: site && ((reached) => site.ended(siteEnd(reached))),
  });
  const { end, step, evaluations } = outcome;
  if (end === 'nothingLeft') {
    conclude(
      `nothing left to train: ${shortPath(folder.path)} is at step ${step} of ${config.train.maxSteps}. ` +
        (config.train.epochs > 0
          ? `To continue, add epochs: --set train.epochs=${config.train.epochs + 1}`
          : `To continue, raise the last step: --set train.maxSteps=${2 * step}`),
    );
    return 0;
  }
  if (site !== undefined && siteEnd(outcome).kind === 'unfinished') {
    conclude(`stopped at step ${step} of ${config.train.maxSteps}; the same command continues`);
    return unfinishedExitCode;
  }
  if (end === 'stopped') {
    conclude(`stopped. Resume with: ${ownCommand('--resume', shortPath(folder.path))}`);
    return interruptedExitCode;
  }
  const shown = shortPath(folder.path);
  if (config.schedule.kind === 'sweep') {
    await printSweep(folder.path);
    conclude(`done: ${shown}`);
    return 0;
  }
  const use = useOf(config.task.kind, shown);
  await printBest(run, evaluations, use.command);
  await printSample(config, folder);
  conclude(`done: ${shown}. ${use.purpose}: ${ownCommand(...use.command)}`);
  return 0;
}

/** Names the best model, since the sample and `generate` use the last one, and the way to it if it has a checkpoint. */
async function printBest(run: Run, evaluations: readonly EvaluatedLoss[], command: readonly string[]): Promise<void> {
  const [best, last] = [bestOf(evaluations), evaluations.at(-1)];
  if (best === undefined || last === undefined) return;
  const before = best.step === 0 ? ', before training' : '';
  const at = `best validation loss ${best.loss.toFixed(4)} at step ${grouped(best.step)}${before}`;
  if (best === last) {
    print(at);
    return;
  }
  // What --best selects.
  const isKept = (await run.store.measured())[0]?.step === best.step;
  const use = isKept
    ? ownCommand(...command, '--best')
    : 'its weights were not kept; checkpoint.best=true keeps those of the lowest loss';
  print(`${at}, ${last.loss.toFixed(4)} at the end: ${use}`);
}

/** What a user does with a model that has learned this task: the words after `launch`. @param run its directory */
export function useOf(
  kind: Config['task']['kind'],
  run: string,
): { readonly purpose: string; readonly command: readonly string[] } {
  switch (kind) {
    case 'lm':
      return { purpose: 'Generate more text', command: ['generate', run] };
    case 'seq2seq':
      return { purpose: 'Translate a text', command: ['generate', run, '--prompt', 'TEXT'] };
    case 'sft':
    case 'dpo':
    case 'grpo':
    case 'ppo':
      return { purpose: 'Talk to the model', command: ['chat', run] };
    case 'classify':
      return { purpose: 'Classify a text', command: ['classify', 'TEXT', '--checkpoint', run] };
    case 'reward':
      return { purpose: 'Judge pairs of answers', command: ['eval', run] };
    default:
      return kind satisfies never;
  }
}

/** Keys that were made before the run. */
async function keysOf({ runKey, encrypt, singleProcess }: TrainArguments) {
  const fromEnvironment = keysInEnvironment().run;
  if (encrypt && !singleProcess) return await givenRunKeys(runKey, fromEnvironment);
  if (runKey === undefined) return undefined;
  throw new UserError(
    '--run-key: this run has no connections to encrypt: omit it, or --no-encrypt and --single-process',
  );
}

/** Before anything is written. @throws UserError for a number that is out of its range */
export function checkNumbers({
  workers,
  minWorkers,
  maxRestarts,
  trace,
  dashboard,
}: Pick<TrainArguments, 'workers' | 'minWorkers' | 'maxRestarts' | 'trace' | 'dashboard'>): void {
  if (workers !== undefined) numberOption('workers', workers, { min: 1, max: 1024, whole: true });
  numberOption('min-workers', minWorkers, { min: 1, max: 1024, whole: true });
  numberOption('max-restarts', maxRestarts, { min: 0, max: 1_000_000, whole: true });
  if (dashboard !== undefined) portOption(dashboard);
  if (trace !== undefined) numberOption('trace', trace, { min: 1, max: 1_000, whole: true });
}

interface StopWatch {
  /** A scheduler may repeat its signal, which then does not mean haste. */
  readonly hasScheduler: boolean;
  readonly started: (run: StartedRun) => void;
  readonly onStop: (cause: EndCause) => void;
}

/** The view on the terminal, the dashboard, and Ctrl-C. */
async function observe(args: TrainArguments, run: Run, view: RunView, watch: StopWatch): Promise<RunObserver> {
  const { maxSteps, globalBatchSize, logEverySteps } = run.config.train;
  const { dashboard, samples, urls } = await openPage(args, run);
  const tensorBoard = await tensorBoardOf(args, run, view.startStep);
  const output = openRunOutput(outputModeOf(args, process.stdout.isTTY), {
    maxSteps,
    logEverySteps,
    stepTokens: globalBatchSize * run.data.sampleTokens,
    ...view,
    runDir: run.folder.path,
  });
  const chosen = run.config.engine.name === 'auto' ? await selectEngine(run.config.engine) : undefined;
  let ignoreSignals = () => {};
  let ignorePrintFailures = () => {};
  const waiting = new WaitingHint(view.state, print);
  return {
    listeners: [
      output.listener,
      waiting,
      ...(samples ? [samples] : []),
      ...(tensorBoard ? [tensorBoard.listener] : []),
    ],
    onWorkerOutput: output.onWorkerOutput,
    started(started) {
      watch.started(started);
      ignoreSignals = handleSignals(started, watch);
      ignorePrintFailures = onPrintFailure((problem) =>
        started.note(`${problem}; training continues without this output`),
      );
      if (args.listen !== undefined && !watch.hasScheduler) waiting.join = joinCommand(run.folder, started);
      printHeader(run, args, started, { chosen, hasScheduler: watch.hasScheduler });
      if (urls !== undefined) print(`dashboard ${urls}`);
    },
    async close() {
      await samples?.close();
      await dashboard?.close();
      await tensorBoard?.close();
      ignoreSignals();
      ignorePrintFailures();
      output.close();
    },
  };
}

/** The dashboard and its samples. The server takes a while to load, so it is imported only if requested. */
async function openPage(
  { dashboard: port, dashboardHost: host, quiet }: TrainArguments,
  { folder, config, store }: Run,
) {
  if (port === undefined) return {};
  const { openDashboard, shownUrls } = await import('./dashboard.ts');
  const dashboard = await openDashboard([folder.path], port, host);
  const samples = new CheckpointSamples({
    path: folder.samplesPath,
    store,
    ...config.sample,
    isTarget: config.task.kind === 'seq2seq',
    onWarning: warn,
    lastStep: quiet ? undefined : config.train.maxSteps,
  });
  return { dashboard, samples, urls: shownUrls(dashboard) };
}

/** @param step the last step before this run continues */
async function tensorBoardOf({ tensorboard }: TrainArguments, { folder, config }: Run, step: number) {
  if (tensorboard === undefined) return undefined;
  const into = tensorboard === '' ? join(folder.path, 'tensorboard') : expandHome(tensorboard);
  const { TensorBoardLog } = await import('../report/tensorBoard.ts');
  return new TensorBoardLog({ folder: into, step, config: renderConfig(config), onWarning: warn });
}

interface HeaderFacts {
  /** The engine that `auto` selects. */
  readonly chosen: EngineChoice | undefined;
  /** Whether the other workers come by themselves, with the other nodes of a job. */
  readonly hasScheduler: boolean;
}

function printHeader(
  { config, data, folder, worldSize }: Run,
  args: TrainArguments,
  started: StartedRun,
  { chosen, hasScheduler }: HeaderFacts,
): void {
  print(`run ${shortPath(folder.path)}`);
  print(`data ${data.description}`);
  if (chosen !== undefined) {
    const { name, deviceKind, reason, isFallback } = chosen;
    // A warning already gave the reason.
    print(`engine ${name} (${deviceKind})${isFallback ? '' : `: ${reason}`}`);
  }
  const others = worldSize - config.train.workers;
  if (others <= 0 && args.listen === undefined) return;
  const [address = started.address, ...more] = joinAddresses(started.address, started.advertise);
  if (hasScheduler) {
    if (others > 0) print(`waiting at ${address} for ${countOf(others, 'worker')} of the other nodes`);
    return;
  }
  const join = joinCommand(folder, started);
  print(others > 0 ? waitingText(others, join) : `listening on ${address} (${join})`);
  if (more.length > 0) print(`other addresses of this machine: ${more.join(', ')}`);
}

/** @returns a function that removes the handlers */
function handleSignals(run: StartedRun, { hasScheduler, onStop }: StopWatch): () => void {
  let isStopping = false;
  return endInOrder({
    isIgnored: (cause) => hasScheduler && isStopping && isSchedulers(cause),
    end: (cause) => {
      isStopping = true;
      onStop(cause);
      print(
        `stopping after this step, with a checkpoint${hasScheduler ? ` (${cause})` : insistHint(cause, 'to stop at once')}`,
      );
      run.stop(cause, isSchedulers(cause));
    },
    endAtOnce: () => {
      const exit = () => process.exit(interruptedExitCode);
      setTimeout(exit, cleanUpMs);
      void run.abandon().finally(exit);
    },
  });
}
