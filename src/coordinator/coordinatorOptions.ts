/** What a coordinator is given: by `launch`, by a bench, by the simulator. */
import { declaredTensors } from '../architecture/trainable.ts';
import type { Clock } from '../base/clock.ts';
import type { FlightRecorder } from '../base/flightRecorder.ts';
import type { StateTensor } from '../base/stateParts.ts';
import type { ControlServer } from '../comm/link.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import type { Dataset } from '../data/dataset.ts';
import type { EventsLog, LoggedEvent } from '../records/eventsLog.ts';
import type { JournalSink } from '../records/journal.ts';
import type { EvaluationMetrics, MetricsLog, StepMetrics } from '../records/metricsLog.ts';
import type { TraceFile } from '../records/traceFile.ts';
import type { TextSize } from '../task/textMeasures.ts';
import type { CheckpointOutcome, StateStore, StoredState } from './checkpointer.ts';
import type { EvaluatedLoss } from './core/bestEvaluation.ts';
import type { decide } from './core/decide.ts';
import type { Resumed, RunPlan } from './core/runState.ts';
import type { Progress } from './stepRecords.ts';
import type { ValidationPlan } from './validationPlan.ts';

/** What a worker trains with. */
export interface PreparedReplica {
  /** What it computes on, for people: `native (avx512, 2 threads)`. */
  readonly engine: string;
  /** The model's parameters, in the order of its state. */
  readonly tensors: readonly StateTensor[];
}

/** A worker in the ring, for those who listen. */
export interface RingMember {
  /** From 0, its place in the ring. */
  readonly rank: number;
  /** Its name, which stays when it comes back: `local-0000`. */
  readonly worker: string;
  /** The machine it runs on. */
  readonly host: string;
  /** Of its process there. */
  readonly pid: number;
  /** Its replica. */
  readonly prepared?: PreparedReplica;
}

/** What a user may want to see of a run. */
export interface RunListener {
  /** A ring is formed, at the start and whenever workers came or went: its members go on from the same state. */
  readonly started: (members: readonly RingMember[]) => void;
  /** An update is applied on every rank. */
  readonly step: (metrics: StepMetrics) => void;
  /** The validation loss after a step (`eval.everySteps`). */
  readonly evaluated: (metrics: EvaluationMetrics) => void;
  /** A checkpoint is written, or could not be. */
  readonly checkpoint: (outcome: CheckpointOutcome) => void;
  /** A loss, a restart, somebody who came or left: one line. */
  readonly event: (event: LoggedEvent) => void;
  /** All that events.jsonl gets, those of `event` among them. */
  readonly logged?: (event: LoggedEvent) => void;
  /** What a user should know, in one line. */
  readonly warning: (message: string) => void;
}

/** Tells several, in order. Each may listen to a part only. */
export function allListeners(listeners: readonly Partial<RunListener>[]): RunListener {
  const tellAll = (tell: (listener: Partial<RunListener>) => void) => {
    for (const listener of listeners) tell(listener);
  };
  return {
    started: (members) => tellAll((listener) => listener.started?.(members)),
    step: (metrics) => tellAll((listener) => listener.step?.(metrics)),
    evaluated: (metrics) => tellAll((listener) => listener.evaluated?.(metrics)),
    checkpoint: (outcome) => tellAll((listener) => listener.checkpoint?.(outcome)),
    event: (event) => tellAll((listener) => listener.event?.(event)),
    logged: (event) => tellAll((listener) => listener.logged?.(event)),
    warning: (message) => tellAll((listener) => listener.warning?.(message)),
  };
}

export interface CoordinatorOptions {
  readonly runId: string;
  readonly config: Config;
  readonly dataset: Dataset;
  /** What workers must train. Absent: the parameters of the config's model. */
  readonly tensors?: readonly StateTensor[];
  /** Floating-point operations of forward and backward over the tokens of a step: gives the utilisation (mfu). */
  readonly stepFlops?: number;
  /** What the targets of an evaluation stand for where none is masked, if known: gives bits per byte. */
  readonly validationText?: TextSize;
  /** Tokens of a rank's validation windows that are evaluated at a time. Default 32,768. */
  readonly evalPartTokens?: number;
  /** Where workers join; it stays the caller's to close. */
  readonly server: ControlServer;
  /** Workers that should be there before the run starts, and the fewest that it goes on with. */
  readonly worldSize: number;
  readonly minWorkers: number;
  /** Names of the workers that this machine starts; `workerExited` is called for them. */
  readonly localWorkers: readonly string[];
  readonly restartsMax: number;
  /** Whether others may join. */
  readonly open: boolean;
  /** Starts a local worker, again or for the first time. */
  readonly startWorker: (worker: string) => void;
  readonly killWorker: (worker: string) => void;
  readonly store: StateStore;
  readonly metrics: Pick<MetricsLog, 'append' | 'rewind' | 'flush'>;
  readonly events: Pick<EventsLog, 'append' | 'flush'>;
  readonly journal: JournalSink;
  /** The checkpoint to go on from; of step 0 that which holds the weights that a run begins with. */
  readonly resume?: StoredState;
  /** Those of earlier parts of the run, oldest first. */
  readonly evaluations?: readonly EvaluatedLoss[];
  /** For a run that begins with other weights: which they are, in words. */
  readonly begunWith?: string;
  /** Where a coordinator that was killed had come to, if its workers may still be there. */
  readonly resumed?: Resumed;
  readonly listener: RunListener;
  /** What a worker must show to join; without it everybody may. */
  readonly token?: string | undefined;
  readonly clock?: Clock;
  /** Where the steps that are traced are written down. */
  readonly tracer?: Pick<TraceFile, 'isTraced' | 'add'>;
  /** Written if the run fails. */
  readonly recorder?: FlightRecorder;
  /** The core. */
  readonly decide?: typeof decide;
}

/** What was trained on before, oldest first: by the checkpoint, and beyond it by the journal. */
export function progressBefore({ config, resume, resumed }: CoordinatorOptions): Progress[] {
  const { trainer } = resume ?? {};
  const known: Progress[] = [];
  if (trainer) known.push({ step: trainer.step, tokens: trainer.data.samplesSeen * config.model.blockSize });
  if (resumed?.tokens !== undefined) known.push({ step: resumed.step, tokens: resumed.tokens });
  return known;
}

/** What of it the decision core knows. */
export function planOf(options: CoordinatorOptions, validation: ValidationPlan): RunPlan {
  const { runId, config, dataset, worldSize, minWorkers, localWorkers, restartsMax, open, resume } = options;
  const { train, comm, checkpoint, schedule } = config;
  return {
    runId,
    worldSize,
    minWorkers,
    localWorkers,
    restartsMax,
    open,
    tensors: options.tensors ?? declaredTensors(modelOf(config.model, dataset.vocabSize), train.trainable),
    startStep: resume?.trainer?.step ?? 0,
    startsFromCheckpoint: resume !== undefined,
    maxSteps: train.maxSteps,
    schedule: { ...schedule, decaySteps: schedule.decaySteps || train.maxSteps },
    gradClip: config.optimizer.gradClip,
    precision: config.engine.precision,
    globalBatchSize: train.globalBatchSize,
    evalEverySteps: config.eval.everySteps,
    evalWindows: validation.windowCount,
    evalPartWindows: validation.partWindows,
    stopAfter: config.eval.stopAfter,
    evaluations: options.evaluations ?? [],
    checkpointEverySteps: checkpoint.everySteps,
    // Whoever stops early wants the best model, not one of some steps later.
    checkpointBest: checkpoint.best || config.eval.stopAfter > 0,
    hashEverySteps: train.hashEverySteps,
    heartbeatTimeoutMs: comm.heartbeatTimeoutMs,
    joinTimeoutMs: comm.joinTimeoutMs,
    stepTimeoutMs: comm.stepTimeoutMs,
    batchSplit: train.batchSplit,
  };
}
