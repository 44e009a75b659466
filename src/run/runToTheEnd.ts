/**
 * From a claimed directory and a listening address to the end of the run: opens what the run writes, starts its coordinator and the workers
 * of this machine, and closes all of it whatever happens.
 */
import { hasEncoder } from '../architecture/registry.ts';
import { stepFlops } from '../architecture/work.ts';
import { availableCores } from '../base/cores.ts';
import { PeerError } from '../base/errors.ts';
import { FlightRecorder } from '../base/flightRecorder.ts';
import type { ControlServer, Transport } from '../comm/link.ts';
import { addressFromHere, parseTcpAddress } from '../comm/linkAddress.ts';
import { joinKeysOf, type RunKeys } from '../comm/runKeys.ts';
import { modelOf } from '../config/groups/model.ts';
import type { CheckpointOutcome } from '../coordinator/checkpointer.ts';
import { Coordinator } from '../coordinator/coordinator.ts';
import { allListeners } from '../coordinator/coordinatorOptions.ts';
import { isComplete as hasEnded } from '../coordinator/core/decisionParts.ts';
import { EventsLog } from '../records/eventsLog.ts';
import type { Journal } from '../records/journal.ts';
import { MetricsLog } from '../records/metricsLog.ts';
import { TraceFile } from '../records/traceFile.ts';
import { forkWorkers, startInProcess, type WorkerExit } from '../worker/spawn.ts';
import { localNames } from '../worker/workerNames.ts';
import type { Begun, Execution, RunOutcome } from './execution.ts';
import type { PolicyParts, PolicyPoint } from './policyRollouts.ts';
import type { Run } from './prepareRun.ts';
import { openJournal, type ResumePoint, returnTimeoutMs } from './resumePoint.ts';
import { LengthKeeper } from './runLength.ts';
import type { RunObserver } from './runObserver.ts';

/** The time that workers have to end after the run, before they are killed. */
const stopGraceMs = 3_000;
export interface Start extends Execution, Begun {
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
export async function runToTheEnd(start: Start): Promise<RunOutcome> {
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
  store.useEvaluations(() => coordinator.state.evaluations);
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
