/** The rules between two keys of a config, in the order in which they are checked. schema.ts applies them; load.ts shows where each value comes from. */
import { architectures, hasEncoder } from '../architecture/registry.ts';
import type { EngineEntry } from '../engine/engineEntry.ts';
import { engines, enginesThat, hasDeviceKinds } from '../engine/engines.ts';
import type { EnginePrecision } from '../engine/precision.ts';
import { isPolicyKind } from '../task/kinds.ts';
import { promptRolloutBytes, rolloutBytesMax } from '../task/rolloutSize.ts';
import type { Config } from './configTypes.ts';
import { headProblemOf, muonProblemOf, trainableProblemOf } from './modelRules.ts';

/** A rule between two keys. If it is broken, the message names both, with the origin of each value. */
export interface CrossCheck {
  readonly key: string;
  readonly other: string;
  /** The text between the two keys in the message: `model.nEmbd = 10 must be divisible by model.nHead = 3`. */
  readonly must: string;
  readonly holds: (config: Config) => boolean;
  /** What to do, as a sentence after the message, if the two keys do not show it. */
  readonly cure?: string;
  /** Why a config breaks it: the end of the message. */
  readonly detail?: (config: Config) => string | undefined;
}

/** Whether the model's sizes come from existing weights: the config is checked against them later (run/initialWeights.ts). */
const sizesComeFromWeights = ({ model: { from } }: Config): boolean => from !== '';

/** Whether the run trains on rows. */
const hasExamples = ({ data }: Config): boolean => data.examples.length > 0;

/** Why the answers to one prompt do not fit in the message of a worker; undefined if they do. */
function answersProblemOf(config: Config): string | undefined {
  const { task, model } = config;
  const bytes = promptRolloutBytes(task, model.blockSize);
  if (sizesComeFromWeights(config) || !isPolicyKind(config.task.kind) || bytes <= rolloutBytesMax) return undefined;
  const [size, limit] = [bytes, rolloutBytesMax].map((count) => `${(count / 2 ** 20).toFixed(2)} MiB`);
  return `${task.group} answers of up to ${Math.min(task.maxTokens, model.blockSize)} tokens are ${size}, above ${limit}. Lower task.group or task.maxTokens`;
}

const hasPrecision = ({ precisions }: EngineEntry, precision: EnginePrecision): boolean =>
  precisions.includes(precision);

export const crossChecks: readonly CrossCheck[] = [
  {
    key: 'data.examples',
    other: 'data.shards',
    must: 'replaces text and shards, but there is',
    holds: (config) => !hasExamples(config) || config.data.shards.length === 0,
  },
  {
    key: 'data.columns',
    other: 'data.examples',
    must: 'is for tables of rows, but there is',
    holds: (config) => config.data.columns.length === 0 || hasExamples(config),
  },
  {
    key: 'data.field',
    other: 'data.examples',
    must: 'is for text only, but there is',
    holds: (config) => config.data.field === 'text' || !hasExamples(config),
  },
  {
    key: 'data.format',
    other: 'data.examples',
    must: 'has no rows, but there is',
    // Two text files are rows of seq2seq.
    holds: ({ data, task: { kind } }) => data.format !== 'text' || data.examples.length === 0 || kind === 'seq2seq',
  },
  {
    key: 'task.kind',
    other: 'data.examples',
    must: 'needs rows to learn from, but there is',
    holds: (config) => config.task.kind === 'lm' || hasExamples(config),
  },
  {
    key: 'model.labels',
    other: 'task.kind',
    must: 'must fit',
    holds: (config) => headProblemOf(config) === undefined,
    detail: headProblemOf,
  },
  {
    key: 'task.kind',
    other: 'model.architecture',
    must: 'needs a model with a classification head, but there is',
    holds: ({ model, task: { kind } }) => (kind !== 'classify' && kind !== 'reward') || 'labels' in model,
  },
  {
    key: 'task.kind',
    other: 'model.architecture',
    must: 'needs a model with an encoder (encoderDecoder), but there is',
    holds: ({ model, task: { kind } }) => kind !== 'seq2seq' || hasEncoder(model),
    cure: 'Choose such a model, or task.kind=sft with rows {prompt, completion}',
  },
  {
    key: 'task.kind',
    other: 'model.architecture',
    must: 'must be seq2seq for a model with an encoder:',
    holds: ({ model, task: { kind } }) => kind === 'seq2seq' || !hasEncoder(model),
    cure: 'Give rows {source, target}, or choose a model without an encoder',
  },
  {
    key: 'task.beta',
    other: 'task.kind',
    must: 'must be above 0 for dpo:',
    holds: ({ task: { kind, beta } }) => kind !== 'dpo' || beta > 0,
  },
  {
    key: 'task.group',
    other: 'task.kind',
    must: 'must be at least 2 for grpo, which compares the answers of a group:',
    holds: ({ task: { kind, group } }) => kind !== 'grpo' || group >= 2,
  },
  {
    key: 'task.group',
    other: 'task.maxTokens',
    must: 'must let the answers to one prompt fit in a message with',
    holds: (config) => answersProblemOf(config) === undefined,
    detail: answersProblemOf,
  },
  {
    key: 'model.dropout',
    other: 'task.kind',
    must: 'must be 0 for grpo and ppo, whose answers are drawn without dropout:',
    holds: (config) =>
      sizesComeFromWeights(config) ||
      !isPolicyKind(config.task.kind) ||
      !('dropout' in config.model) ||
      config.model.dropout === 0,
  },
  {
    key: 'task.kind',
    other: 'model.architecture',
    must: 'needs a model with a value head, but there is',
    holds: ({ model, task: { kind } }) => kind !== 'ppo' || 'valueHead' in model,
  },
  {
    key: 'model.valueHead',
    other: 'task.kind',
    must: 'is for ppo only, which adds it by itself:',
    holds: ({ model, task: { kind } }) => kind === 'ppo' || !('valueHead' in model) || !model.valueHead,
  },
  {
    key: 'train.globalBatchSize',
    other: 'task.kind',
    must: 'must divide the answers of an iteration (task.prompts × task.group) without remainder for grpo and ppo:',
    holds: (config) =>
      !isPolicyKind(config.task.kind) || (config.task.prompts * config.task.group) % config.train.globalBatchSize === 0,
    detail: ({ task: { prompts, group }, train }) =>
      `${prompts} × ${group} = ${prompts * group} answers, ${train.globalBatchSize} in each step`,
  },
  {
    key: 'eval.everySteps',
    other: 'task.kind',
    must: 'must be 0 for grpo and ppo, which are measured by the rewards of every iteration:',
    holds: (config) => !isPolicyKind(config.task.kind) || config.eval.everySteps === 0,
  },
  {
    key: 'task.pack',
    other: 'data.examples',
    must: 'needs rows to pack, but there is',
    holds: (config) => !config.task.pack || hasExamples(config),
  },
  {
    key: 'task.pack',
    other: 'task.kind',
    must: 'is for lm and sft only, but there is',
    holds: ({ task }) => !task.pack || task.kind === 'lm' || task.kind === 'sft',
  },
  {
    key: 'train.epochs',
    other: 'data.examples',
    must: 'counts how often each row is used, but there is',
    holds: (config) => config.train.epochs === 0 || hasExamples(config),
  },
  {
    key: 'data.weights',
    other: 'data.shards',
    must: 'must have one number for each folder in',
    holds: ({ data }) => data.weights.length === 0 || data.weights.length === [data.shards].flat().length,
  },
  ...architectures.flatMap(({ name, rules }) =>
    rules.map(({ key, other, must, holds }) => ({
      key: `model.${key}`,
      other: `model.${other}`,
      must,
      holds: (config: Config) =>
        sizesComeFromWeights(config) || config.model.architecture !== name || holds(config.model),
    })),
  ),
  {
    key: 'train.globalBatchSize',
    other: 'train.microBatchSize',
    must: 'must be divisible by',
    holds: ({ train }) => train.globalBatchSize % train.microBatchSize === 0,
  },
  {
    key: 'train.globalBatchSize',
    other: 'train.workers',
    must: 'must be at least one sequence per worker:',
    holds: ({ train }) => train.globalBatchSize >= train.workers,
  },
  {
    key: 'train.trainable',
    other: 'model.architecture',
    must: 'must match parameters of',
    holds: (config) => sizesComeFromWeights(config) || trainableProblemOf(config) === undefined,
    detail: trainableProblemOf,
  },
  {
    key: 'optimizer.kind',
    other: 'model.architecture',
    must: 'must have matrices to update in the blocks of',
    holds: (config) => sizesComeFromWeights(config) || muonProblemOf(config) === undefined,
    detail: muonProblemOf,
  },
  {
    key: 'schedule.minLearningRate',
    other: 'schedule.learningRate',
    must: 'must not be above',
    // The other kinds do not use it, or are checked below.
    holds: ({ schedule: { kind, minLearningRate, learningRate } }) =>
      !['cosine', 'linear', 'wsd'].includes(kind) || minLearningRate <= learningRate,
  },
  {
    key: 'schedule.decaySteps',
    other: 'schedule.warmupSteps',
    must: 'must be 0 or above',
    holds: ({ schedule: { kind, decaySteps, warmupSteps } }) =>
      decaySteps === 0 || kind === 'inverseSqrt' || kind === 'sweep' || decaySteps > warmupSteps,
  },
  {
    key: 'schedule.minLearningRate',
    other: 'schedule.learningRate',
    must: 'must be above 0 and below the end of the sweep,',
    holds: ({ schedule: { kind, minLearningRate, learningRate } }) =>
      kind !== 'sweep' || (minLearningRate > 0 && minLearningRate < learningRate),
  },
  {
    key: 'engine.deviceKind',
    other: 'engine.name',
    must: `is for the ${enginesThat(hasDeviceKinds)} only, but there is`,
    holds: ({ engine: { name, deviceKind } }) =>
      deviceKind === 'auto' || (name !== 'auto' && hasDeviceKinds(engines[name])),
  },
  {
    key: 'engine.precision',
    other: 'engine.name',
    must: `is for the ${enginesThat((entry) => hasPrecision(entry, 'bf16'))} only, but there is`,
    holds: ({ engine: { name, precision } }) =>
      name === 'auto' || precision !== 'bf16' || hasPrecision(engines[name], precision),
  },
  {
    key: 'engine.precision',
    other: 'engine.name',
    must: `is for the ${enginesThat((entry) => hasPrecision(entry, 'f16'))} only, but there is`,
    holds: ({ engine: { name, precision } }) =>
      name === 'auto' || precision !== 'f16' || hasPrecision(engines[name], precision),
  },
  {
    key: 'engine.precision',
    other: 'model.normPlace',
    must: 'is for norms before each branch, which keep the residual stream in float32, but there is',
    holds: ({ engine: { precision }, model }) =>
      precision !== 'bf16' || !('normPlace' in model) || model.normPlace === 'pre',
  },
  {
    key: 'comm.heartbeatTimeoutMs',
    other: 'comm.heartbeatIntervalMs',
    must: 'must be at least twice',
    holds: ({ comm }) => comm.heartbeatTimeoutMs >= 2 * comm.heartbeatIntervalMs,
  },
  {
    key: 'comm.bucketBytesMax',
    other: 'comm.chunkBytes',
    must: 'must be at least',
    holds: ({ comm }) => comm.bucketBytesMax >= comm.chunkBytes,
  },
];
