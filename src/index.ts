/**
 * Lockstep as a library: train a GPT over several processes or machines, use what was trained, or build a training loop of your own
 * from its parts. The guide is docs/guide/library.md.
 *
 * @packageDocumentation
 */

export type {
  Adapter,
  ConstantInit,
  IsTrained,
  MergedMatrices,
  NormalInit,
  ParameterSpec,
  SinusoidalInit,
} from './architecture/parameters.ts';
export type { ModelConfig } from './architecture/registry.ts';
export type { OptimizerKind } from './architecture/trainable.ts';
export type { ActivationKind } from './base/activations.ts';
export type { Batch, BatchArray, BatchNumbers, WeighedBatch } from './base/batch.ts';
export type { RandomKey } from './base/counterRandom.ts';
export { InvariantError, PeerError, UserError } from './base/errors.ts';
export type { ScalingState } from './base/lossScaling.ts';
export type { StatePart, StateTensor } from './base/stateParts.ts';
export { addSums, type Means, meansOf, noSums, type Sums } from './base/sums.ts';
export type { PublishedTokenizer, TokenizerKind } from './base/tokenizerKind.ts';
export { version } from './base/version.ts';
export type { TensorShape } from './checkpoint/safetensors.ts';
export type { StepTimings } from './comm/messageFields.ts';
export type {
  BigramKeys,
  CheckpointKeys,
  CommKeys,
  Config,
  ConfigInput,
  DataKeys,
  EncoderDecoderKeys,
  EngineKeys,
  EvalKeys,
  Gpt2Keys,
  KeysInput,
  ModelKeys,
  OptimizerKeys,
  SampleKeys,
  ScheduleKeys,
  TaskKeys,
  TrainKeys,
  TransformerKeys,
} from './config/configTypes.ts';
export { type LoadConfigOptions, type LoadedConfig, loadConfig } from './config/load.ts';
export type { CheckpointOutcome, FailedCheckpoint, WrittenCheckpoint } from './coordinator/checkpointer.ts';
export type { PreparedReplica, RingMember, RunListener } from './coordinator/coordinatorOptions.ts';
export { learningRateAt, type Schedule } from './coordinator/core/schedule.ts';
export type { DataOptions, Dataset, DatasetOptions } from './data/dataset.ts';
export type { LineEndings } from './data/lineEndings.ts';
export { openDataset } from './data/openDataset.ts';
export type { SourceFormat } from './data/prepare/fileKinds.ts';
export type { CorpusShare, SampleOptions, SamplerKind } from './data/sampleOrder.ts';
export {
  type TrainBatchOptions,
  type TrainingSplit,
  trainBatch,
  type ValBatchesOptions,
  valBatches,
  type WindowTask,
} from './data/sampler.ts';
export type { TextSource } from './data/textSource.ts';
export type { TokenArray, TokenSequence } from './data/tokenArray.ts';
export { type CreateTokenizerOptions, createTokenizer } from './data/tokenizers/openTokenizer.ts';
export type { EncodeSteps, StreamDecoder, Tokenizer } from './data/tokenizers/tokenizer.ts';
export type { TrainingProgress } from './data/tokenizers/trainTokenizer.ts';
export type {
  AttentionHeads,
  AttentionOptions,
  CachedKeys,
  CachedOperands,
  FusedGradient,
  FusedOperands,
  KeyRanges,
  SeparateGradients,
  SeparateOperands,
} from './engine/attentionOptions.ts';
export type { DeviceTimings, EngineMemory, KernelTime } from './engine/device.ts';
export type { Documents } from './engine/documents.ts';
export type { Dropout } from './engine/dropout.ts';
export type { Engine } from './engine/engine.ts';
export type {
  ForwardActivation,
  LinearBackwardOptions,
  LinearCrossEntropyOptions,
  LinearForwardOptions,
  LinearOptions,
} from './engine/linearOptions.ts';
export type { AdamwOptions, AverageOptions, MatrixPart, WeightedSumOptions } from './engine/optimizerOptions.ts';
export type { EnginePrecision } from './engine/precision.ts';
export { createEngine, type EngineOptions } from './engine/registry.ts';
export type { RopeOptions } from './engine/ropeOptions.ts';
export type { DType, HostArray, Shape, Tensor, TensorGroup } from './engine/tensor.ts';
export type { TfjsDeviceKind } from './engine/tfjs/deviceKinds.ts';
export { type BeamSearchOptions, beamSearch, type FoundTarget } from './model/beamSearch.ts';
export type { ActivationRecompute, Precision } from './model/computing.ts';
export type { KeyValueCache } from './model/keyValueCache.ts';
export type { LossScaling } from './model/lossScaling.ts';
export { type ForwardOptions, type LossOptions, Model } from './model/model.ts';
export { classes } from './model/objectives/classes.ts';
export { nextToken } from './model/objectives/nextToken.ts';
export type { Objective, PassSums, StepOptions } from './model/objectives/objective.ts';
export { reward } from './model/objectives/reward.ts';
export type { Head, LossGradient } from './model/operations/losses.ts';
export type { ModelParameters, Parameter } from './model/parameter.ts';
export type { ParameterBlock, ParametersOptions } from './model/parameterBlocks.ts';
export { parameterSpecs } from './model/parameterOrder.ts';
export { Parameters } from './model/parameterStore.ts';
export type { CachedContext, DropoutSource, SourceTokens } from './model/pass.ts';
export type { Seed } from './model/recording.ts';
export type { StateEntry } from './model/replicaState.ts';
export { type CheckpointBody, Tape } from './model/tape.ts';
export {
  type AdamwStep,
  type AppliedStep,
  type EnqueuedMicroStep,
  type MicroStepOptions,
  type PhaseTimes,
  Trainer,
  type TrainerOptions,
} from './model/training.ts';
export type { Affine, EmbeddingOptions, FloatType, LinearLayer, Rotation, Variable } from './model/variable.ts';
export type { EventFacts, LoggedEvent, RunWideEvent, WorkerEvent } from './records/eventsLog.ts';
export type {
  CommittedStep,
  EvaluationMetrics,
  StepMetrics,
} from './records/metricsLog.ts';
export type { RankMetrics, RankShare } from './records/rankSummary.ts';
export type { Classification } from './run/classifyTexts.ts';
export {
  type RestoreCheckpointOptions,
  type RestoredCheckpoint,
  restoreCheckpoint,
  type SaveCheckpointOptions,
  saveCheckpoint,
} from './run/saveCheckpoint.ts';
export { type TrainListener, type TrainOptions, type TrainSummary, train } from './run/train.ts';
export {
  type AnsweredPrompt,
  type ClassifyOptions,
  type GenerateTextOptions,
  type LoadCheckpointOptions,
  loadCheckpoint,
  type TextEvaluation,
  TrainedModel,
  type TranslateOptions,
} from './run/trainedModel.ts';
export type { FieldAxis, FieldRule, FieldRules, FieldType } from './task/fields.ts';
export { nextTokenWindows, type TokenBatch, type TokenWindow, tokenBatch } from './task/nextToken.ts';
export type { Sample, SampleField, Task } from './task/task.ts';
