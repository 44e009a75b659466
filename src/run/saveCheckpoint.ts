/** Checkpoints of a user's own training loop: the same files as a run writes, for the same readers. */
import { hasEncoder, type ModelConfig, modelDifference } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import { checkOptionTypes, checkPath, received } from '../base/optionValues.ts';
import { sourceOf } from '../base/stateParts.ts';
import { storedPath } from '../base/userPath.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import type { ConfigInput } from '../config/configTypes.ts';
import { loadConfig } from '../config/load.ts';
import type { Dataset } from '../data/dataset.ts';
import type { Trainer } from '../model/training.ts';
import type { TaskKind } from '../task/kinds.ts';
import { emitWarning, findCheckpoint } from './findCheckpoint.ts';
import { fillTensor } from './loadModel.ts';
import { taskOfModel } from './rowsToEvaluate.ts';

/** Facts in a checkpoint besides the parameters and the optimizer state. */
export interface SaveCheckpointOptions {
  /** Number of updates so far; 0 before the first. Part of the folder's name. */
  readonly step: number;
  /** The training data: its tokenizer becomes part of the checkpoint. */
  readonly dataset: Pick<Dataset, 'tokenizer' | 'sha256'>;
  /** Mean over the validation targets, in nats; the checkpoint with the lowest one is never deleted. */
  readonly valLoss?: number;
  /** Number of newest checkpoints to keep, besides the best; 0 keeps all. Default 0. */
  readonly keep?: number;
  /**
   * Number of samples that the model was trained on so far, recorded with the checkpoint. Default: `step` times
   * `train.globalBatchSize` of `config`; 0 (unknown) without `config`.
   */
  readonly samplesSeen?: number;
  /**
   * Recorded with the checkpoint: the data (`data`, which `launch eval` evaluates), how steps are drawn (`train.seed`,
   * `train.globalBatchSize`) and the defaults of `launch generate` (`sample`). Missing keys are recorded with their defaults. The model's
   * sizes and `optimizer.kind` come from the trainer, and with rows (`data.examples`) `task.kind` comes from a model with labels or an
   * encoder.
   */
  readonly config?: ConfigInput;
  /** Where a relative path starts. Default: the working folder of the process. */
  readonly cwd?: string;
  /** Called for older checkpoints that could not be deleted. */
  readonly onWarning?: (message: string) => void;
}

/** Options to find a checkpoint. */
export interface RestoreCheckpointOptions {
  /** Where a relative path starts. Default: the working folder of the process. */
  readonly cwd?: string;
  /** Called for newer checkpoints that were skipped as damaged. Default: `process.emitWarning`. */
  readonly onWarning?: (message: string) => void;
}

const saveNames = {
  step: true,
  dataset: true,
  valLoss: true,
  keep: true,
  samplesSeen: true,
  config: true,
  cwd: true,
  onWarning: true,
} satisfies OptionNames<SaveCheckpointOptions>;

const restoreNames = { cwd: true, onWarning: true } satisfies OptionNames<RestoreCheckpointOptions>;

/** The state that a loop continues from. */
export interface RestoredCheckpoint {
  /** The checkpoint's folder. */
  readonly path: string;
  /** Number of updates of the parameters; 0 for weights that no run wrote. */
  readonly step: number;
  /**
   * Whether the checkpoint has the moments of all trained parameters, as the trainer's optimizer (`muon`) keeps them. If not, those of the
   * trainer are unchanged: zero in a new one.
   */
  readonly hasOptimizer: boolean;
}

/**
 * Writes all parameters, and AdamW's moments and averages (`ema`) of the trained ones, to `directory`/step-…, atomically, as `launch` does. {@link loadCheckpoint},
 * `launch generate` and Hugging Face's `from_pretrained` can read it.
 * @returns the checkpoint's folder, absolute
 * @throws UserError for an invalid config, an unknown option, and a number that is not a whole number of at least 0
 * @throws PeerError if the disk is full or fails; nothing is left of this checkpoint, and older ones are unchanged
 */
export async function saveCheckpoint(
  directory: string,
  trainer: Trainer,
  options: SaveCheckpointOptions,
): Promise<string> {
  checkPath('saveCheckpoint', directory);
  checkOptionNames('saveCheckpoint', options, saveNames);
  checkOptionTypes(options, { cwd: 'a path', onWarning: 'a function' });
  const { step, dataset, valLoss, keep = 0, samplesSeen, config } = options;
  const { cwd = process.cwd(), onWarning = () => {} } = options;
  for (const [name, value] of Object.entries({ step, keep, samplesSeen: samplesSeen ?? 0 })) {
    if (Number.isSafeInteger(value) && value >= 0) continue;
    throw new UserError(`${name}: expected a whole number, 0 or more, received ${received(value)}`);
  }
  const { model, parameters } = trainer;
  const { config: parsed } = loadConfig({ config: recordedConfig(trainer, config), cwd });
  const { seed, globalBatchSize } = parsed.train;
  // Without a config, the number of samples per step is unknown.
  const samplesOfSteps = config === undefined ? 0 : step * globalBatchSize;
  const store = new CheckpointStore(storedPath(cwd, directory), { keep, onWarning });
  const writer = await store.beginWrite({
    tensors: parameters.stateTensors,
    modelConfig: model.config,
    tokenizerFiles: dataset.tokenizer.files(),
    endOfText: dataset.tokenizer.endOfText,
    trainer: {
      step,
      seed,
      valLoss: valLoss ?? null,
      config: { ...parsed },
      data: { sha256: dataset.sha256, samplesSeen: samplesSeen ?? samplesOfSteps },
    },
  });
  try {
    for (const { block, index } of parameters.stateEntries()) {
      const values = new Float32Array(parameters.sizeOf(block, index));
      await parameters.readTensor(block, index, values);
      await writer.write(new Uint8Array(values.buffer));
    }
    return await writer.commit();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** The model and the optimizer are those of the trainer, and so is the task where the model and the rows of the config decide it. */
function recordedConfig({ model, parameters }: Trainer, config: ConfigInput = {}): ConfigInput {
  const hasRows = (config.data?.examples ?? []).length > 0;
  const task = { ...config.task };
  task.kind ??= hasRows ? taskOfModel(model.config) : undefined;
  return {
    ...config,
    task,
    model: recordedModel(model.config, task.kind),
    optimizer: { ...config.optimizer, kind: parameters.updatedBy.muon.length > 0 ? 'muon' : 'adamw' },
  };
}

/**
 * Labels, a value head and an encoder need a task, and most tasks need rows. A config without a task has none of them: those of the
 * checkpoint are in its config.json.
 */
function recordedModel(model: ModelConfig, kind: TaskKind = 'lm'): NonNullable<ConfigInput['model']> {
  if (hasEncoder(model) && kind === 'lm') return { vocabSize: model.vocabSize, blockSize: model.blockSize };
  return {
    ...model,
    ...('labels' in model && kind !== 'classify' && kind !== 'reward' && { labels: [] }),
    ...('valueHead' in model && kind !== 'ppo' && { valueHead: false }),
  };
}

/**
 * Loads the parameters of a checkpoint into a trainer, and AdamW's moments if it has them for all trained parameters. A loop can then
 * continue from there, or fine-tune weights trained elsewhere. Pending gradients are discarded.
 * @param path a checkpoint, a folder of checkpoints or a run directory (the newest complete one), or a folder of Hugging Face's GPT-2, Llama or MarianMT
 * @throws UserError for a path that is not a checkpoint, a damaged one, a model of other sizes, an unknown option; the trainer is then unchanged
 */
export async function restoreCheckpoint(
  path: string,
  trainer: Trainer,
  options: RestoreCheckpointOptions = {},
): Promise<RestoredCheckpoint> {
  checkPath('restoreCheckpoint', path);
  checkOptionNames('restoreCheckpoint', options, restoreNames);
  checkOptionTypes(options, { cwd: 'a path', onWarning: 'a function' });
  const { cwd = process.cwd(), onWarning = emitWarning } = options;
  const checkpoint = await findCheckpoint({ path, cwd, onWarning, verify: 'all' });
  const { config } = trainer.model;
  const difference = modelDifference(config, checkpoint.modelConfig);
  if (difference !== undefined) {
    const { key, one, other } = difference;
    throw new UserError(`${checkpoint.path} has a model with ${key} = ${other}, but the trainer's has ${one}`);
  }
  const { trainer: state } = checkpoint;
  const { parameters } = trainer;
  const { stateTensors } = parameters;
  const hasOptimizer = checkpoint.hasMomentsOf(stateTensors);
  for (const { part, ...place } of parameters.stateEntries()) {
    if (!hasOptimizer && (part === 'm' || part === 'v' || part === 'scaling')) continue;
    await fillTensor(parameters, checkpoint, { part: sourceOf(part, stateTensors), ...place });
  }
  trainer.zeroGrads();
  return { path: checkpoint.path, step: state?.step ?? 0, hasOptimizer };
}
