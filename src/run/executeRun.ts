/**
 * Sees a prepared run through: claims its directory, listens, starts the workers of this machine, trains to the last step or until it
 * is stopped, and leaves nothing running. It prints nothing and knows no signals: those are its caller's, `launch` or the library.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { hasEncoder } from '../architecture/registry.ts';
import { stepFlops } from '../architecture/work.ts';
import { availableCores } from '../base/cores.ts';
import { InvariantError, messageOf, PeerError, UserError } from '../base/errors.ts';
import { FlightRecorder } from '../base/flightRecorder.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { shortPath } from '../base/shortPath.ts';
import type { ControlServer, Transport } from '../comm/link.ts';
import { addressFromHere, parseTcpAddress } from '../comm/linkAddress.ts';
import { memoryTransport } from '../comm/memoryLink.ts';
import type { RingPlace } from '../comm/ringPlace.ts';
import { joinKeysOf, newRunKeys, type RunKeys } from '../comm/runKeys.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { modelOf } from '../config/groups/model.ts';
import { renderConfig } from '../config/render.ts';
import type { CheckpointOutcome } from '../coordinator/checkpointer.ts';
import { Coordinator } from '../coordinator/coordinator.ts';
import { allListeners } from '../coordinator/coordinatorOptions.ts';
import { type EvaluatedLoss, lacksEvaluation } from '../coordinator/core/bestEvaluation.ts';
import { isComplete as hasEnded } from '../coordinator/core/decisionParts.ts';
import type { Judge } from '../coordinator/rollouts/rollouts.ts';
import { EventsLog } from '../records/eventsLog.ts';
import type { Journal } from '../records/journal.ts';
import { MetricsLog } from '../records/metricsLog.ts';
import { TraceFile } from '../records/traceFile.ts';
import { forkWorkers, startInProcess, type WorkerExit } from '../worker/spawn.ts';
import { localNames } from '../worker/workerNames.ts';
import { describeWeights, writeInitialCheckpoint } from './initialWeights.ts';
import { openJudge } from './judge.ts';
import type { RunMessages } from './messages.ts';
import { openPolicy, type PolicyParts, type PolicyPoint, policyPoint } from './policyRollouts.ts';
import type { Run } from './prepareRun.ts';
import { withReference } from './reference.ts';
import {
  checkWaiting,
  findWaitingWorkers,
  openJournal,
  type ResumePoint,
  reachable,
  returnTimeoutMs,
} from './resumePoint.ts';
import { keysToResumeWith, writeRunKeys } from './runKeyFiles.ts';
import { LengthKeeper, withRunLength } from './runLength.ts';
import type { RunObserver, RunView } from './runObserver.ts';
import { StoredRun } from './storedRun.ts';

/** The time that workers have to end after the run, before they are killed. */
const stopGraceMs = 3_000;
/** This machine only, any free port. */
const loopback = 'tcp://127.0.0.1:0';

export interface ExecuteRunOptions {
  readonly run: Run;
  /** Run the workers in this process, without sockets. */
  readonly singleProcess: boolean;
  readonly encrypt: boolean;
  /** Keys that were made before the run; absent: those of the run directory, or new ones. */
  readonly keys?: RunKeys | undefined;
  /** Where ring ends of local workers may listen, if that is restricted. */
  readonly ring?: RingPlace | undefined;
  /** Address for other workers to join; absent: this machine only. */
  readonly listen?: string | undefined;
  /** The address of this machine for others, `tcp://HOST:PORT`; absent: its own. Port 0: that of `listen`. */
  readonly advertise?: string | undefined;
  /** Maximum number of restarts of local workers. */
  readonly maxRestarts: number;
  /** Cores for the workers of this machine; absent: all that this process may use. */
  readonly cores?: number | undefined;
  /** Whether SIGTERM to a worker makes it leave the run; default true. */
  readonly leavesOnSignal?: boolean | undefined;
  /** Number of steps to record in `trace.json`; absent: none. */
  readonly traceSteps?: number | undefined;
  readonly messages: RunMessages;
  readonly observe: (view: RunView) => Promise<RunObserver>;
  /** Called once this process has claimed the run directory. */
  readonly claimed?: (() => Promise<void>) | undefined;
  /** Called with the outcome or the failure while this process still has the directory; never if it has not, or has lost it. */
  readonly ending?: ((end: RunOutcome | Error) => Promise<void>) | undefined;
}

/** The options, with the place of the run in an object store, if it has one. */
interface Execution extends ExecuteRunOptions {
  readonly stored: StoredRun | undefined;
}

export interface RunOutcome {
  /** `nothingLeft`: it had come to its last step before. */
  readonly end: 'trained' | 'stopped' | 'nothingLeft';
  /** Number of updates applied. */
  readonly step: number;
  /** Every evaluation of the run, oldest first, including those before a resume. */
  readonly evaluations: readonly EvaluatedLoss[];
}

/** @throws UserError, PeerError with what can be done about it; the run directory is given back in any case */
export async function executeRun(given: ExecuteRunOptions): Promise<RunOutcome> {
  const { run, messages } = given;
  const { folder } = run;
  const stored = StoredRun.of(run, messages);
  const options = { ...given, stored };
  // A directory that exists is claimed before its journal is read; a new one is made when nothing more can be wrong.
  if (!folder.isNew) await folder.claim(messages.warn);
  const tellEnd = async (end: RunOutcome | Error) => {
    if (folder.isHeld) await options.ending?.(end);
  };
  try {
    if (!folder.isNew) await options.claimed?.();
    // Beyond the checkpoint there may be workers with more: even after the last step, its checkpoint is still to be written.
    const stepsDone = run.resume?.trainer?.step ?? 0;
    const point = folder.isNew ? undefined : findWaitingWorkers(folder, stepsDone, messages);
    if (point !== undefined) checkWaiting(run, point);
    // Without the records in the object store, which only the claim brings, that is not known.
    const isDone = !run.restoresRecords && (await isComplete(atPoint(run, point)));
    const outcome = isDone ? await nothingLeft(run) : await trainFrom(options, point);
    await tellEnd(outcome);
    return outcome;
  } catch (error) {
    const failure = await failureOf(error, options);
    await tellEnd(failure);
    throw failure;
  } finally {
    await stored?.release();
    await folder.release();
  }
}

/** What to throw: the error, and what the user can do about it. */
async function failureOf(thrown: unknown, { run, stored, messages }: Execution): Promise<Error> {
  const { folder } = run;
  const error = thrown instanceof Error ? thrown : new InvariantError(messageOf(thrown));
  // A hint to resume would take the directory or the prefix back from the other process.
  if (error instanceof UserError || folder.isLost || stored?.isHeld === false) return error;
  const flight = existsSync(folder.flightPath)
    ? `\nthe last actions of every process are in ${shortPath(folder.flightPath)}`
    : '';
  if (error instanceof PeerError) {
    return new PeerError(`${error.message}\n${await resumeHint(run)}${flight}`, { cause: error });
  }
  if (flight !== '') messages.warn(flight.trim());
  return error;
}

/** Whether neither a step nor the evaluation of the last one is left. */
async function isComplete({ resume, config, folder }: Run): Promise<boolean> {
  const step = resume?.trainer?.step ?? 0;
  const { maxSteps } = config.train;
  if (step < maxSteps) return false;
  const evaluations = await MetricsLog.readEvaluations(folder.metricsPath, step);
  return !lacksEvaluation({ evalEverySteps: config.eval.everySteps, maxSteps }, step, evaluations);
}

async function nothingLeft({ folder, resume }: Run): Promise<RunOutcome> {
  const step = resume?.trainer?.step ?? 0;
  return { end: 'nothingLeft', step, evaluations: await MetricsLog.readEvaluations(folder.metricsPath, step) };
}

/** Where workers have come further than the checkpoint, the remaining epochs begin there. */
function atPoint(run: Run, point: ResumePoint | undefined): Run {
  if (point?.resumed.samples === undefined) return run;
  const { step, samples } = point.resumed;
  return { ...run, config: withRunLength(run.config, run.data, { step, samples }) };
}

/** Listens, claims a new directory and trains. */
async function trainFrom(options: Execution, point: ResumePoint | undefined): Promise<RunOutcome> {
  const { data, config, cwd } = options.run;
  const opened = data.prompts && (await openJudge(config, cwd));
  try {
    return await trainWith(opened?.judge, options, point);
  } finally {
    await opened?.close();
  }
}

async function trainWith(
  judge: Judge | undefined,
  options: Execution,
  point: ResumePoint | undefined,
): Promise<RunOutcome> {
  const { run, singleProcess, listen, messages } = options;
  const keys = await keysOf(options);
  const transport = singleProcess ? memoryTransport() : zmqTransport({ log: messages.warn, keys });
  const address = singleProcess ? 'memory://coordinator' : (listen ?? point?.recovered.address ?? loopback);
  const hasReference = run.data.pairs !== undefined || judge !== undefined;
  let begun: Begun = { run };
  let policy: PolicyParts | undefined;
  if (hasReference) {
    // An address where nothing can listen is reported before the long computation.
    if (run.folder.isNew) await (await transport.listen(address)).close();
    await claimFolder(options, keys);
    // The claim has brought the records that show it.
    if (await isComplete(atPoint(run, point))) return await nothingLeft(run);
    begun = await beginWithReference(options, point);
    policy = await openPolicy(begun.run, { judge, messages });
  }
  const server = await transport.listen(address);
  try {
    if (!hasReference) await claimFolder(options, keys);
    const advertise = options.advertise ?? point?.recovered.advertise;
    const found = reachable(point, { address: server.address, advertise }, messages);
    if (found === undefined && begun.run.resume === undefined) begun = await beginWithWeights(begun.run);
    const complete = atPoint(begun.run, found);
    if (await isComplete(complete)) return await nothingLeft(complete);
    const { known, point: from } = policy
      ? policyPoint(policy, complete, { point: found, messages })
      : { known: undefined, point: found };
    if (from !== undefined) await run.folder.writeConfig(renderConfig(complete.config));
    const { reference } = policy ?? {};
    return await runToTheEnd({
      ...options,
      ...begun,
      run: reference ? { ...complete, data: { ...complete.data, reference: reference.sha256 } } : complete,
      ...(policy && { policy: { ...policy, known } }),
      maxStepsFromCheckpoint: run.config.train.maxSteps,
      advertise,
      point: from,
      keys,
      transport,
      server,
    });
  } finally {
    await server.close();
  }
}

/** A run with its initial weights. */
interface Begun {
  readonly run: Run;
  /** A description of the initial weights, unless they are random. */
  readonly begunWith?: string;
}

/**
 * Computes the reference log probabilities before workers can connect. A worker that joins expects an answer within seconds, and only the
 * coordinator, which starts later, can give it.
 */
async function beginWithReference({ run, messages }: Execution, point: ResumePoint | undefined): Promise<Begun> {
  const begun: Begun = point === undefined ? await beginWithWeights(run) : { run };
  return { ...begun, run: await withReference(begun.run, messages) };
}

async function claimFolder({ run, stored, messages, claimed }: Execution, keys: RunKeys | undefined): Promise<void> {
  const { folder, config, resume, restoresRecords: restores = false } = run;
  if (folder.isNew) {
    await folder.claim(messages.warn);
    await claimed?.();
  }
  await stored?.claim({ resumed: resume?.trainer?.step, restores, config: renderConfig(config) });
  // Its records are of an earlier failure.
  await rm(folder.flightPath, { recursive: true, force: true });
  await folder.writeConfig(renderConfig(config));
  if (keys) await writeRunKeys(folder, keys);
}

/** Makes the initial weights the first checkpoint, which workers receive as in a resumed run. */
async function beginWithWeights(run: Run): Promise<Begun> {
  if (run.weights === undefined) return { run };
  const resume = await writeInitialCheckpoint(run.store, run.weights, run);
  return { run: { ...run, resume }, begunWith: await describeWeights(run.weights) };
}

/** Undefined without encryption. */
async function keysOf(options: ExecuteRunOptions): Promise<RunKeys | undefined> {
  const { encrypt, singleProcess, keys, run } = options;
  if (!encrypt || singleProcess) return undefined;
  return run.folder.isNew ? (keys ?? newRunKeys()) : await keysToResumeWith(run.folder, keys);
}

/** What the user can do about a failed run. */
async function resumeHint({ store, folder }: Run): Promise<string> {
  const newest = (await store.list()).find(({ problem }) => problem === undefined);
  return newest === undefined
    ? 'no checkpoint exists yet (checkpoint.everySteps): start the run again'
    : `continue from step ${newest.step} with: ${ownCommand('--resume', shortPath(folder.path))}`;
}

interface Start extends Execution, Begun {
  readonly run: Run;
  /** The number of steps if the state of the waiting workers is lost. */
  readonly maxStepsFromCheckpoint: number;
  readonly point: ResumePoint | undefined;
  /** For a run that learns from what it writes itself. */
  readonly policy?: (PolicyParts & Pick<PolicyPoint, 'known'>) | undefined;
  readonly keys: RunKeys | undefined;
  readonly transport: Transport;
  readonly server: ControlServer;
}

/** Opens what the run writes and who looks at it, and closes them whatever happens. */
async function runToTheEnd(start: Start): Promise<RunOutcome> {
  const { run, point, traceSteps, messages } = start;
  const startStep = point?.resumed.step ?? run.resume?.trainer?.step ?? 0;
  const logs = await openLogs(start, startStep);
  let coordinator: Coordinator | undefined;
  let tracer: TraceFile | undefined;
  let observer: RunObserver | undefined;
  try {
    if (traceSteps !== undefined) {
      const { maxSteps } = run.config.train;
      const trace = { path: run.folder.tracePath, afterStep: startStep, steps: traceSteps, maxSteps };
      tracer = await TraceFile.open({ ...trace, onWarning: messages.warn });
    }
    observer = await start.observe({ startStep, state: () => coordinator?.state });
    return await coordinate({ ...start, ...logs, tracer, observer }, (created) => {
      coordinator = created;
    });
  } finally {
    // The coordinator closes it too, and may not have come to be.
    await logs.journal.close();
    await (run.folder.isLost ? tracer?.abandon() : tracer?.close());
    await observer?.close();
  }
}

interface Coordination extends Start, Logs {
  readonly tracer: TraceFile | undefined;
  readonly observer: RunObserver;
}

async function coordinate(given: Coordination, onCreated: (coordinator: Coordinator) => void): Promise<RunOutcome> {
  const { run, stored, point, keys, transport, server, singleProcess, observer, tracer, policy } = given;
  const { config, data, validationText, store, resume, worldSize, minWorkers } = run;
  const { runId, journal, metrics, events } = given;
  const localWorkers = localNames(config.train.workers);
  const meanLength = data.sampleTokens / data.sequencesPerSample;
  const model = modelOf(config.model, data.vocabSize);
  // A target's token is counted with one of its source.
  const counted = hasEncoder(model) ? 1 / 2 : 1;
  const returnMs = point && returnTimeoutMs(config, given.advertise);
  const length = new LengthKeeper(run, given.messages.warn);
  let lastCheckpoint: CheckpointOutcome | undefined;
  let coordinator: Coordinator | undefined;
  const workerStart = {
    coordinatorAddress: singleProcess ? server.address : addressFromHere(server.address),
    ringHost: singleProcess ? undefined : parseTcpAddress(server.address).host,
    localWorkers,
    cores: given.cores ?? availableCores(),
    leavesOnSignal: given.leavesOnSignal,
    keys: keys && joinKeysOf(keys),
    ring: given.ring,
    flightFolder: run.folder.flightPath,
    onExit: (exit: WorkerExit) => coordinator?.workerExited(exit),
    onOutput: observer.onWorkerOutput,
  };
  const workers = singleProcess ? startInProcess(workerStart, transport) : forkWorkers(workerStart);
  coordinator = new Coordinator({
    runId,
    config,
    data,
    server,
    worldSize,
    minWorkers,
    localWorkers,
    store: stored?.guarded(store) ?? store,
    metrics: stored?.follow({ metrics, events }) ?? metrics,
    events,
    journal,
    evaluations: metrics.evaluations,
    ...(policy && { rollouts: policy.rollouts, reference: policy.reference, knownRollouts: policy.known }),
    tokenFlops: stepFlops(model, counted, config.train.trainable, meanLength),
    ...(validationText !== undefined && { validationText }),
    restartsMax: singleProcess ? 0 : given.maxRestarts,
    ...(returnMs !== undefined && { returnTimeoutMs: returnMs }),
    open: given.listen !== undefined || point !== undefined || worldSize > config.train.workers,
    startWorker: (worker) => workers.start(worker),
    killWorker: (worker) => workers.kill(worker),
    token: keys?.token,
    ...(tracer && { tracer }),
    recorder: new FlightRecorder({ folder: run.folder.flightPath, name: 'coordinator' }),
    ...(resume !== undefined && { resume }),
    ...(given.begunWith !== undefined && { begunWith: given.begunWith }),
    ...(point !== undefined && { resumed: point.resumed, maxStepsFromCheckpoint: given.maxStepsFromCheckpoint }),
    listener: allListeners([
      ...observer.listeners,
      length,
      {
        checkpoint(outcome) {
          lastCheckpoint = outcome;
        },
        step: (line) => tracer?.step(line, coordinator?.stepTokens(line.step) ?? 0),
      },
    ]),
  });
  onCreated(coordinator);
  try {
    const waiting = point?.resumed.workers ?? [];
    for (const worker of localWorkers) if (!waiting.includes(worker)) workers.start(worker);
    let isStopped = false;
    observer.started({
      address: server.address,
      advertise: given.advertise,
      isEncrypted: keys !== undefined,
      stop: (cause, isToContinue) => {
        isStopped = true;
        coordinator.requestStop(cause, isToContinue);
      },
      note: (message) => coordinator.note(message),
      abandon: async () => void (await Promise.all([workers.stop(0), coordinator.close(), run.folder.release()])),
    });
    // First stop writing. Then tell the workers to stop: those in this process end only that way.
    run.folder.lost.catch((error: PeerError) => coordinator.abandon(error));
    stored?.onLost((error) => coordinator.abandon(error));
    const step = await coordinator.finished;
    if (lastCheckpoint !== undefined && 'error' in lastCheckpoint) {
      throw new PeerError(
        `the run reached step ${step}, but its last checkpoint could not be written: ${lastCheckpoint.error}. Free some space.`,
      );
    }
    const end = isStopped && !hasEnded(coordinator.state) ? 'stopped' : 'trained';
    return { end, step, evaluations: coordinator.state.evaluations };
  } finally {
    await workers.stop(stopGraceMs);
    await coordinator.close();
    await length.close();
  }
}

interface Logs {
  readonly runId: string;
  readonly journal: Journal;
  readonly metrics: MetricsLog;
  readonly events: EventsLog;
}

/** The journal, the metrics and the events of the run directory, and the run's id. The coordinator closes them. */
async function openLogs({ run, point, server, advertise, messages, policy }: Start, stepsDone: number): Promise<Logs> {
  const startStep = run.resume?.trainer?.step ?? 0;
  const at = { address: server.address, advertise };
  const { journal, runId } = openJournal(run.folder, at, { point, startStep, messages });
  try {
    const known = point === undefined ? policy?.known : undefined;
    if (policy && known) journal.append({ kind: 'rollouts', step: policy.rollouts.startOf(known.iteration), ...known });
    const commits = point?.recovered.commits;
    const metrics = await MetricsLog.open(run.folder.metricsPath, stepsDone, messages.warn, commits);
    const events = await EventsLog.open(run.folder.eventsPath, messages.warn);
    return { runId, journal, metrics, events };
  } catch (error) {
    await journal.close();
    throw error;
  }
}
