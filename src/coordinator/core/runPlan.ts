/** What is decided before a run, for the decision core (decide.ts). Plain data only. */
import type { StateTensor } from '../../base/stateParts.ts';
import type { EvaluatedLoss } from './bestEvaluation.ts';
import type { Schedule } from './schedule.ts';

/** The number of steps of a run, and what follows from it. */
export interface RunLength {
  readonly maxSteps: number;
  /** The learning rate of each step. */
  readonly schedule: Schedule;
}

/** What was decided before the run. Only its length may change: see `fromCheckpoint` and `counted`. */
export interface RunPlan extends RunLength {
  /** Identifies this run; workers left over from an earlier run, which may still look for their coordinator, have another id. */
  readonly runId: string;
  /** Number of workers that should join before the run starts; after `joinTimeoutMs` fewer suffice, down to `minWorkers`. */
  readonly worldSize: number;
  /** Minimum number of workers. With fewer, the run waits. */
  readonly minWorkers: number;
  /** Names of the workers that this machine starts. */
  readonly localWorkers: readonly string[];
  /** Number of restarts of this machine's workers allowed over the entire run. */
  readonly restartsMax: number;
  /** Whether workers started elsewhere may join. */
  readonly open: boolean;
  /** The model's parameters, in any order. */
  readonly tensors: readonly StateTensor[];
  /** Updates applied before the run: 0, or the step of the checkpoint that it resumes. */
  readonly startStep: number;
  /** Whether a checkpoint has the state of `startStep`. If not, `startStep` is 0 and every replica initialises from the seed. */
  readonly startsFromCheckpoint: boolean;
  /**
   * The run's length if it goes back to `startStep` because no resumed worker has its state any more. In a run that counts epochs it
   * may differ, because the lost steps may have had another batch size. Absent: the same.
   */
  readonly fromCheckpoint?: RunLength;
  /**
   * For a resumed run that counts epochs: what determines its length if a worker proves a later step than the journal. The steps between
   * had the former batch size. Absent: the length is fixed.
   */
  readonly counted?: {
    /** The step of the journal, and the number of samples until then. */
    readonly step: number;
    readonly samples: number;
    /** Number of samples of each step after that. */
    readonly formerBatchSize: number;
    /** Number of samples of the run. */
    readonly sampleLimit: number;
    /** `schedule.decaySteps`: 0 is the length of the run. */
    readonly decaySteps: number;
  };
  /** `optimizer.gradClip` and `engine.precision`, which decide what advice applies. */
  readonly gradClip: number;
  readonly precision: string;
  /** Samples of a step, over all ranks. */
  readonly globalBatchSize: number;
  /** Interval in steps; 0 disables it. */
  readonly evalEverySteps: number;
  /** Number of samples in an evaluation, over all ranks, and the maximum that a rank gets at a time. */
  readonly evalSamples: number;
  readonly evalPartSamples: number;
  /** Number of evaluations without a lower validation loss after which the run ends; 0 never ends it. */
  readonly stopAfter: number;
  /** The evaluations of earlier parts of the run. */
  readonly evaluations: readonly EvaluatedLoss[];
  readonly checkpointEverySteps: number;
  /** Whether to also save each state with the lowest validation loss so far. */
  readonly checkpointBest: boolean;
  readonly hashEverySteps: number;
  readonly heartbeatIntervalMs: number;
  readonly heartbeatTimeoutMs: number;
  readonly joinTimeoutMs: number;
  readonly stepTimeoutMs: number;
  /** How long a resumed run waits for the first worker that kept the state, if longer than `heartbeatTimeoutMs`. */
  readonly returnTimeoutMs?: number;
  /** Whether every rank gets the same number of samples, or a number in proportion to its speed. */
  readonly batchSplit: 'equal' | 'proportional';
  /** For a run that writes its own samples. */
  readonly rollouts?: RolloutPlan;
}

/** How a run writes its own samples, iteration by iteration. */
export interface RolloutPlan {
  /** Number of updates with the samples of one iteration. */
  readonly stepsPerIteration: number;
  /** Number of parts in which an iteration's samples are written. */
  readonly parts: number;
  /** The KL divergence from the reference at which the run ends; 0 never ends it. */
  readonly klMax: number;
  /** The iteration of the checkpoint's step, if the step is within one. */
  readonly known?: KnownIteration | undefined;
}

/** An iteration whose samples are on disk. */
export interface KnownIteration {
  /** Counted from 1. */
  readonly iteration: number;
  /** Hash of the file. */
  readonly sha256: string;
}
