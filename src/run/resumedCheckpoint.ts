/**
 * Whether a run can resume from its checkpoint: its model, trained parameters, optimizer, tokenizer and data must be those of the config. What the config
 * may change otherwise: resumedConfig.ts.
 */
import { modelDifference } from '../architecture/registry.ts';
import { declaredTensors, type Trainable } from '../architecture/trainable.ts';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { optionName } from '../base/ownCommand.ts';
import { shortPath } from '../base/shortPath.ts';
import { isTrainedTensor } from '../base/stateParts.ts';
import { damaged } from '../base/strictJson.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { OPTIMIZER_FILE, TRAINER_FILE } from '../checkpoint/manifest.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import { withTodaysKeys } from '../config/renamedKeys.ts';
import { configSchema } from '../config/schema.ts';
import type { RunData } from '../data/runData.ts';
import { tokenizerFromFiles } from '../data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import type { RunMessages } from './messages.ts';

/** The tokenizer in the checkpoint: training one again takes long, and a changed text would give a different one. */
export async function tokenizerOf(checkpoint: Checkpoint, config: Config): Promise<Tokenizer> {
  const { path, tokenizerFiles } = checkpoint;
  const { tokenizer: kind } = config.data;
  const trained = recordedConfig(checkpoint)?.data.tokenizer ?? kind;
  if (trained !== kind) {
    throw new UserError(
      `${path} was trained with data.tokenizer: ${trained}, but the config says ${kind}: a run resumes with its own tokenizer`,
    );
  }
  return tokenizerFromFiles(tokenizerFiles, path, kind);
}

/** Checks that the checkpoint matches the config and the data. */
export function checkResume(checkpoint: Checkpoint, config: Config, data: RunData, { note }: RunMessages): void {
  const { trainer, modelConfig } = checkpoint;
  const wanted = modelOf(config.model, data.vocabSize);
  const difference = modelDifference(wanted, modelConfig);
  if (difference !== undefined) {
    const { key, one, other } = difference;
    throw new UserError(
      `${checkpoint.path} has model.${key} = ${other}, but the config says ${one}: a run resumes with its own model`,
    );
  }
  if (trainer === undefined || checkpoint.moments.length === 0) {
    throw new UserError(`${checkpoint.path} has no optimizer state: only a checkpoint from a run can be resumed`);
  }
  checkTrained(checkpoint, config.train.trainable);
  checkOptimizer(checkpoint, config);
  if (trainer.data.sha256 !== data.sha256) {
    throw new UserError(changedText(checkpoint.path, data));
  }
  if (trainer.seed !== config.train.seed) {
    throw new UserError(
      `the run has train.seed ${trainer.seed}, not ${config.train.seed}: a run resumes with its own seed`,
    );
  }
  note(`resuming ${shortPath(checkpoint.path)} (step ${trainer.step})`);
}

/** Refuses a change of `train.trainable`: a newly trained parameter has no moments, and a newly frozen one would lose its own. */
function checkTrained({ path, modelConfig, moments }: Checkpoint, trainable: Trainable): void {
  const had = new Set(moments);
  const other = declaredTensors(modelConfig, trainable).find(
    (tensor) => isTrainedTensor(tensor) !== had.has(tensor.name),
  );
  if (other === undefined) return;
  const [was, is] = isTrainedTensor(other) ? ['frozen', 'trained'] : ['trained', 'frozen'];
  throw new UserError(
    `${path} was written by a run in which ${other.name} was ${was}, but with train.trainable: ${JSON.stringify(trainable)} it is ${is}: ` +
      'a run resumes with its own train.trainable',
  );
}

/** Refuses a change of `optimizer.kind`: AdamW and Muon keep different moments of the matrices in blocks. */
function checkOptimizer(checkpoint: Checkpoint, { train, optimizer: { ema, kind } }: Config): void {
  const { path, modelConfig } = checkpoint;
  if (checkpoint.hasMomentsOf(declaredTensors(modelConfig, train.trainable, { ema, kind }))) return;
  const was = kind === 'muon' ? 'adamw' : 'muon';
  if (recordedConfig(checkpoint)?.optimizer.kind === kind) {
    throw damaged(path, `${TRAINER_FILE} says optimizer.kind ${kind}, but ${OPTIMIZER_FILE} has the moments of ${was}`);
  }
  throw new UserError(
    `${path} was written by a run with optimizer.kind ${was}, but the config says ${kind}: a run resumes with its own optimizer. ` +
      `Omit optimizer.kind, or start a new run from its weights (${optionName('init-from')})`,
  );
}

/** The config of the run that wrote the checkpoint; undefined if this version does not read it. */
function recordedConfig({ trainer }: Checkpoint): Config | undefined {
  return configSchema.safeParse(withTodaysKeys(trainer?.config)).data;
}

/** The message for data that differs from the training data. The text may be the same, but its line endings treated differently. */
export function changedText(
  path: string,
  { kind, description, normalised = 0 }: Pick<RunData, 'kind' | 'description' | 'normalised'>,
): string {
  const [changed, are, them] =
    kind === 'text' ? ['the text has', 'it is', 'it'] : ['the examples have', 'they are', 'them'];
  const kept = `set data.lineEndings=keep if the run started with CRLF in ${grouped(normalised)} line endings that are now LF, otherwise `;
  return `${changed} changed since ${path} was written: ${are} now ${description}; ${normalised > 0 ? kept : ''}restore ${them}, or start a new run`;
}
