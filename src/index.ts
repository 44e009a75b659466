/**
 * Lockstep as a library: train a GPT over several processes or machines, use what was trained, or build a training loop of your own
 * from its parts. The guide is docs/guide/library.md.
 *
 * @packageDocumentation
 */
export { InvariantError, PeerError, UserError } from './base/errors.ts';
export { version } from './base/version.ts';
export type {
  CheckpointKeys,
  CommKeys,
  Config,
  ConfigInput,
  DataKeys,
  EngineKeys,
  EvalKeys,
  KeysInput,
  ModelKeys,
  OptimizerKeys,
  SampleKeys,
  ScheduleKeys,
  TrainKeys,
} from './config/configTypes.ts';
export { type LoadConfigOptions, type LoadedConfig, loadConfig } from './config/load.ts';
export { learningRateAt, type Schedule } from './config/schedule.ts';
export type { CheckpointOutcome } from './coordinator/checkpointer.ts';
export type { RunListener } from './coordinator/coordinatorOptions.ts';
export type { LoggedEvent } from './coordinator/eventsLog.ts';
export type { CommittedStep, EvaluationMetrics, RankShare, StepMetrics } from './coordinator/metricsLog.ts';
export { type DataOptions, type Dataset, type DatasetOptions, openDataset } from './data/dataset.ts';
export {
  type TrainBatchOptions,
  trainBatch,
  type ValBatchesOptions,
  valBatches,
} from './data/sampler.ts';
export { type CreateTokenizerOptions, createTokenizer, type Tokenizer, type TokenizerKind } from './data/tokenizer.ts';
export type { Engine, Tensor } from './engine/engine.ts';
export { createEngine, type EngineOptions } from './engine/registry.ts';
export type { ModelConfig } from './model/config.ts';
export { GPT } from './model/gpt.ts';
export { Parameters } from './model/parameterStore.ts';
export { Tape } from './model/tape.ts';
export { type AdamwStep, type Batch, type MicroStepOptions, Trainer } from './model/training.ts';
export { type TrainListener, type TrainOptions, type TrainSummary, train } from './run/train.ts';
export {
  type GenerateTextOptions,
  type LoadCheckpointOptions,
  loadCheckpoint,
  type TextEvaluation,
  TrainedModel,
} from './run/trainedModel.ts';
export {
  type RestoredCheckpoint,
  restoreCheckpoint,
  type SaveCheckpointOptions,
  saveCheckpoint,
} from './run/trainerCheckpoint.ts';
