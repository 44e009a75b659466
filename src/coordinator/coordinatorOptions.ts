/** The coordinator's options, given by `launch`, a bench or the simulator. */
import { declaredTensors } from '../architecture/trainable.ts';
import type { Clock } from '../base/clock.ts';
import type { FlightRecorder } from '../base/flightRecorder.ts';
import { type StateTensor, scalingTensor } from '../base/stateParts.ts';
import type { ControlServer } from '../comm/link.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import type { RunData, TrainingOptions } from '../data/runData.ts';
import type { EventsLog, LoggedEvent } from '../records/eventsLog.ts';
import type { JournalSink } from '../records/journal.ts';
import type { EvaluationMetrics, MetricsLog, StepMetrics } from '../records/metricsLog.ts';
import type { TraceFile } from '../records/traceFile.ts';
import type { TextSize } from '../task/textMeasures.ts';
import type { CheckpointOutcome, StateStore, StoredState } from './checkpointer.ts';
import type { EvaluatedLoss } from './core/bestEvaluation.ts';
import type { decide } from './core/decide.ts';
import type { KnownIteration, RunLength, RunPlan } from './core/runPlan.ts';
import type { Resumed } from './core/runState.ts';
import type { Rollouts } from './rollouts/rollouts.ts';
import type { Progress } from './stepRecords.ts';
import type { ValidationPlan } from './validationPlan.ts';

/** The replica that a worker trains with. */
export interface PreparedReplica {
  /** The engine, for display: `native (avx512, 2 threads)`. */
  readonly engine: string;
  /** The model's parameters, in the order of its state. */
  readonly tensors: readonly StateTensor[];
}

/** A worker in the ring, as listeners see it. */
export interface RingMember {
  /** Its position in the ring, counted from 0. */
  readonly rank: number;
  /** Its name, which it keeps when it returns: `local-0000`. */
  readonly worker: string;
  /** The machine it runs on. */
  readonly host: string;
  /** Its process id on that machine. */
  readonly pid: number;
  /** Its replica. */
  readonly prepared?: PreparedReplica | undefined;
}

/** What a run reports to its user. */
export interface RunListener {
  /** A ring has formed, at the start or after a change of membership; its members continue from the same state. */
  readonly started: (members: readonly RingMember[]) => void;
  /**
   * The run has another number of steps than its config says. With `train.epochs`, a resume counts the steps that are left again when it knows from
   * its workers where it continues.
   */
  readonly lengthChanged?: (maxSteps: number) => void;
  /** Every rank has applied an update. */
  readonly step: (metrics: StepMetrics) => void;
  /** The validation loss after a step (`eval.everySteps`). */
  readonly evaluated: (metrics: EvaluationMetrics) => void;
  /** A checkpoint was written or could not be written. */
  readonly checkpoint: (outcome: CheckpointOutcome) => void;
  /** One line about a loss, a restart, or a worker that joined or left. */
  readonly event: (event: LoggedEvent) => void;
  /** Everything recorded in events.jsonl, including the events passed to `event`. */
  readonly logged?: (event: LoggedEvent) => void;
  /** One line that the user should read. */
  readonly warning: (message: string) => void;
}

/** Forwards to several listeners, in order. Each may implement only some of the methods. */
export function allListeners(listeners: readonly Partial<RunListener>[]): RunListener {
  const tellAll = (tell: (listener: Partial<RunListener>) => void) => {
    for (const listener of listeners) tell(listener);
  };
  return {
    started: (members) => tellAll((listener) => listener.started?.(members)),
    lengthChanged: (maxSteps) => tellAll((listener) => listener.lengthChanged?.(maxSteps)),
    step: (metrics) => tellAll((listener) => listener.step?.(metrics)),
    evaluated: (metrics) => tellAll((listener) => listener.evaluated?.(metrics)),
    checkpoint: (outcome) => tellAll((listener) => listener.checkpoint?.(outcome)),
    event: (event) => tellAll((listener) => listener.event?.(event)),
    logged: (event) => tellAll((listener) => listener.logged?.(event)),
    warning: (message) => tellAll((listener) => listener.warning?.(message)),
  };
}

/** The weights of a policy at its start, in a file. */
export interface ReferenceFile {
  readonly path: string;
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

export interface CoordinatorOptions {
  readonly runId: string;
  readonly config: Config;
  readonly data: RunData;
  /** For a run that writes its own samples. */
  readonly rollouts?: Rollouts | undefined;
  /** The iteration that the checkpoint is within, whose rollouts are on disk. */
  readonly knownRollouts?: KnownIteration | undefined;
  /** What its workers compare their policy with, unless they have or make it themselves. */
  readonly reference?: ReferenceFile | undefined;
  /** The parameters that workers must train. Default: those of the config's model. */
  readonly tensors?: readonly StateTensor[];
  /** Floating-point operations of forward and backward passes per token, for the utilisation (mfu). */
  readonly tokenFlops?: number;
  /** The text of an evaluation's targets if none is masked, for bits per byte. */
  readonly validationText?: TextSize;
  /** Number of tokens of a rank's validation samples evaluated at a time. Default 32,768. */
  readonly evalPartTokens?: number;
  /** Bytes of a chunk in which a checkpoint's state is sent to a worker. Default: that of the protocol, which workers use. */
  readonly stateChunkBytes?: number;
  /** The link on which workers join; the caller closes it. */
  readonly server: ControlServer;
  /** Number of workers to wait for before the run starts, and the minimum it continues with. */
  readonly worldSize: number;
  readonly minWorkers: number;
  /** Names of the workers that this machine starts; `workerExited` is called for them. */
  readonly localWorkers: readonly string[];
  readonly restartsMax: number;
  /** Whether other workers may join. */
  readonly open: boolean;
  /** How long a resumed run waits for the first worker that kept the state, if longer than `comm.heartbeatTimeoutMs`. */
  readonly returnTimeoutMs?: number;
  /** Starts a local worker, for the first time or again. */
  readonly startWorker: (worker: string) => void;
  readonly killWorker: (worker: string) => void;
  readonly store: StateStore;
  readonly metrics: Pick<MetricsLog, 'append' | 'rewind' | 'flush'>;
  readonly events: Pick<EventsLog, 'append' | 'flush'>;
  readonly journal: JournalSink;
  /** The checkpoint to resume from; at step 0 it holds the weights that the run starts with. */
  readonly resume?: StoredState;
  /** Those of earlier parts of the run, oldest first. */
  readonly evaluations?: readonly EvaluatedLoss[];
  /** For a run that starts from other weights: a description of them. */
  readonly begunWith?: string;
  /** The progress of a killed coordinator, if its workers may still be alive. */
  readonly resumed?: Resumed;
  /**
   * The number of steps of the run if the state of the resumed workers is lost and it continues from `resume`: an epoch then may take
   * another number of steps. Default: `train.maxSteps`.
   */
  readonly maxStepsFromCheckpoint?: number;
  readonly listener: RunListener;
  /** The token that a worker must present to join; without one every worker may join. */
  readonly token?: string | undefined;
  readonly clock?: Clock;
  /** Destination of the step traces. */
  readonly tracer?: Pick<TraceFile, 'isTraced' | 'add'>;
  /** Written if the run fails. */
  readonly recorder?: FlightRecorder;
  /** The decision core. */
  readonly decide?: typeof decide;
}

/** What determines the samples of each step. @param samplesBefore number of samples in all steps before a step, counted from 0 */
export function trainingOptions(
  { model, train, data }: Config,
  samplesBefore: (step: number) => number,
): TrainingOptions {
  const { seed, globalBatchSize, epochs } = train;
  const { blockSize } = model;
  return { seed, globalBatchSize, epochs, blockSize, sampler: data.sampler, samplesBefore };
}

/** Samples trained on before, oldest first, from the checkpoint and, beyond it, the journal. */
export function progressBefore({ config, resume, resumed }: CoordinatorOptions): Progress[] {
  const { trainer } = resume ?? {};
  const known: Progress[] = [];
  if (trainer) known.push({ step: trainer.step, samples: trainer.data.samplesSeen });
  const { step = 0, tokens, samples = tokens && tokens / config.model.blockSize, globalBatchSize } = resumed ?? {};
  // Workers may be further than the journal, which a power failure can shorten. What they have applied had the former batch size.
  if (samples !== undefined) known.push({ step, samples, ...(globalBatchSize !== undefined && { globalBatchSize }) });
  return known;
}

/** The progress of a run that writes its own samples, whose lengths only their files tell: from the checkpoint and, beyond it, the journal. */
export function tokensBefore({ resume, resumed }: CoordinatorOptions): { samples: number; tokens: number }[] {
  const known: { samples: number; tokens: number }[] = [];
  const { samplesSeen: samples, tokensSeen: tokens } = resume?.trainer?.data ?? {};
  if (samples !== undefined && tokens !== undefined) known.push({ samples, tokens });
  if (resumed?.samples !== undefined && resumed.tokens !== undefined) {
    known.push({ samples: resumed.samples, tokens: resumed.tokens });
  }
  return known;
}

/** A run of that number of steps. */
function lengthOf({ schedule }: Config, maxSteps: number): RunLength {
  return { maxSteps, schedule: { ...schedule, decaySteps: schedule.decaySteps || maxSteps } };
}

/** What determines the length of a resumed run of epochs. */
function countedOf({ config, data, resumed }: CoordinatorOptions): Pick<RunPlan, 'counted'> {
  const { train, schedule } = config;
  if (resumed?.samples === undefined || train.epochs === 0) return {};
  const { step, samples, globalBatchSize: formerBatchSize = train.globalBatchSize } = resumed;
  const { decaySteps } = schedule;
  return { counted: { step, samples, formerBatchSize, sampleLimit: train.epochs * data.epochSamples, decaySteps } };
}

/** What the state of every worker consists of. */
function tensorsOf({ model, train, optimizer, engine }: Config, vocabSize: number): StateTensor[] {
  const tensors = declaredTensors(modelOf(model, vocabSize), train.trainable, optimizer);
  return engine.precision === 'f16' ? [...tensors, scalingTensor] : tensors;
}

/** The part that the decision core needs. */
export function planOf(options: CoordinatorOptions, validation: ValidationPlan): RunPlan {
  const { runId, config, data, worldSize, minWorkers, localWorkers, restartsMax, open, resume } = options;
  const { train, comm, checkpoint } = config;
  const { maxStepsFromCheckpoint: others, rollouts } = options;
  return {
    runId,
    worldSize,
    minWorkers,
    localWorkers,
    restartsMax,
    open,
    tensors: options.tensors ?? tensorsOf(config, data.vocabSize),
    startStep: resume?.trainer?.step ?? 0,
    startsFromCheckpoint: resume !== undefined,
    ...lengthOf(config, train.maxSteps),
    ...(others !== undefined && { fromCheckpoint: lengthOf(config, others) }),
    ...countedOf(options),
    gradClip: config.optimizer.gradClip,
    precision: config.engine.precision,
    globalBatchSize: train.globalBatchSize,
    evalEverySteps: config.eval.everySteps,
    evalSamples: validation.sampleCount,
    evalPartSamples: validation.partSamples,
    stopAfter: config.eval.stopAfter,
    evaluations: options.evaluations ?? [],
    checkpointEverySteps: checkpoint.everySteps,
    // A user who stops early wants the best model, not one from some steps later.
    checkpointBest: checkpoint.best || config.eval.stopAfter > 0,
    hashEverySteps: train.hashEverySteps,
    heartbeatIntervalMs: comm.heartbeatIntervalMs,
    heartbeatTimeoutMs: comm.heartbeatTimeoutMs,
    joinTimeoutMs: comm.joinTimeoutMs,
    stepTimeoutMs: comm.stepTimeoutMs,
    ...(options.returnTimeoutMs !== undefined && { returnTimeoutMs: options.returnTimeoutMs }),
    batchSplit: train.batchSplit,
    ...(rollouts && { rollouts: { ...rollouts.plan, known: options.knownRollouts } }),
  };
}
