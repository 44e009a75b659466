/** Checkpoints of a training loop of one's own: the same files as a run writes, read by all that reads those. */
import { modelDifference } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import { stateParts } from '../base/stateParts.ts';
import { userPath } from '../base/userPath.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import type { ConfigInput } from '../config/configTypes.ts';
import { loadConfig } from '../config/load.ts';
import type { Dataset } from '../data/dataset.ts';
import type { Trainer } from '../model/training.ts';
import { emitWarning, findCheckpoint } from './findCheckpoint.ts';
import { fillParameters } from './loadModel.ts';

/** What a checkpoint says besides the numbers of the model and its optimizer. */
export interface SaveCheckpointOptions {
  /** Updates made so far: 0 before the first. The folder is called after it. */
  readonly step: number;
  /** What the model learns from: its tokenizer becomes part of the checkpoint. */
  readonly dataset: Pick<Dataset, 'tokenizer' | 'sha256'>;
  /** Mean over the validation targets, in nats; keeps the best checkpoint from being deleted. */
  readonly valLoss?: number;
  /** So many of the newest stay, and the best; 0 keeps all. Default 0. */
  readonly keep?: number;
  /**
   * Samples that the model was trained on so far, recorded beside. Default: `step` times the `train.globalBatchSize` of `config`; 0, for
   * none that is known of, where no `config` is given.
   */
  readonly samplesSeen?: number;
  /**
   * Recorded beside: what the model learns from (`data`, which `launch eval` evaluates), how a step is drawn (`train.seed`,
   * `train.globalBatchSize`), the defaults of `launch generate` (`sample`). What is left out is recorded with its default. The model's
   * sizes are the trainer's own.
   */
  readonly config?: ConfigInput;
  /** Where a relative path starts. Default: the working folder of the process. */
  readonly cwd?: string;
  /** Told of older checkpoints that could not be deleted. */
  readonly onWarning?: (message: string) => void;
}

/** How a checkpoint is found. */
export interface RestoreCheckpointOptions {
  /** Where a relative path starts. Default: the working folder of the process. */
  readonly cwd?: string;
  /** Told of newer checkpoints that were passed over since they are damaged. Default: `process.emitWarning`. */
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

/** What a loop goes on with. */
export interface RestoredCheckpoint {
  /** The checkpoint's folder. */
  readonly path: string;
  /** Updates that the parameters have seen; 0 for weights that no run wrote. */
  readonly step: number;
  /** Whether AdamW's moments were there of all that is trained: if not they are as they were, zero in a new trainer. */
  readonly hasOptimizer: boolean;
}

/**
 * Writes all parameters, and AdamW's moments of those that are trained, to `directory`/step-…, whole or not at all, as `launch` does: {@link loadCheckpoint},
 * `launch generate` and Hugging Face's `from_pretrained` read it.
 * @returns the checkpoint's folder, absolute
 * @throws UserError for a config that is none, an unknown option, and a number below 0 or with a fraction
 * @throws PeerError if the disk is full or fails: nothing is left of it, and older ones are as they were
 */
export async function saveCheckpoint(
  directory: string,
  trainer: Trainer,
  options: SaveCheckpointOptions,
): Promise<string> {
  checkOptionNames('saveCheckpoint', options, saveNames);
  const { step, dataset, valLoss, keep = 0, samplesSeen, config } = options;
  const { cwd = process.cwd(), onWarning = () => {} } = options;
  for (const [name, value] of Object.entries({ step, keep, samplesSeen: samplesSeen ?? 0 })) {
    if (Number.isSafeInteger(value) && value >= 0) continue;
    throw new UserError(`${name}: expected a whole number, 0 or more, received ${value}`);
  }
  const { model, parameters } = trainer;
  const { config: parsed } = loadConfig({ config: { ...config, model: model.config }, cwd });
  const { seed, globalBatchSize } = parsed.train;
  // Without a config nobody said how many samples a step has.
  const samplesOfSteps = config === undefined ? 0 : step * globalBatchSize;
  const store = new CheckpointStore(userPath(cwd, directory), { keep, onWarning });
  const writer = await store.beginWrite({
    tensors: parameters.specs.map(({ name, shape }) => ({ name, shape: [...shape] })),
    moments: parameters.trained.map(({ name }) => name),
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
    for (const part of stateParts) {
      for (const [index, { size }] of parameters.specsOf(part).entries()) {
        const values = new Float32Array(size);
        await parameters.readTensor(part, index, values);
        await writer.write(new Uint8Array(values.buffer));
      }
    }
    return await writer.commit();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/**
 * Fills a trainer with the parameters of a checkpoint, and AdamW's moments where it has those of all that is trained: a loop goes on
 * from there, or fine-tunes weights that were trained elsewhere. Gradients that wait for an update are forgotten.
 * @param path a checkpoint, a folder of them or a run directory (its newest whole one), or a GPT-2 folder in Hugging Face's layout
 * @throws UserError for a path that is no checkpoint, a damaged one, a model of other sizes, an unknown option: nothing is filled then
 */
export async function restoreCheckpoint(
  path: string,
  trainer: Trainer,
  options: RestoreCheckpointOptions = {},
): Promise<RestoredCheckpoint> {
  checkOptionNames('restoreCheckpoint', options, restoreNames);
  const { cwd = process.cwd(), onWarning = emitWarning } = options;
  const checkpoint = await findCheckpoint({ path, cwd, onWarning, verify: 'all' });
  const { config } = trainer.model;
  const difference = modelDifference(config, checkpoint.modelConfig);
  if (difference !== undefined) {
    const { key, one, other } = difference;
    throw new UserError(`${checkpoint.path} has a model with ${key} = ${other}, but the trainer's has ${one}`);
  }
  const { trainer: state } = checkpoint;
  const hasOptimizer = checkpoint.hasMomentsOf(trainer.parameters.trained.map(({ name }) => name));
  for (const part of hasOptimizer ? stateParts : stateParts.slice(0, 1)) {
    await fillParameters(trainer.parameters, checkpoint, part);
  }
  trainer.zeroGrads();
  return { path: checkpoint.path, step: state?.step ?? 0, hasOptimizer };
}
