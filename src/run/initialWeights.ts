/**
 * Initial weights instead of random ones (`model.from`). They are found, compared with the config, which takes their sizes and tokenizer,
 * and written as the run's checkpoint of step 0. Workers receive them from there, as in a resumed run, and the run no longer needs their
 * folder.
 */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { architectureOf, type ModelConfig, parameterCount } from '../architecture/registry.ts';
import { declaredTensors } from '../architecture/trainable.ts';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { shortPath } from '../base/shortPath.ts';
import { hashFile } from '../base/wholeFiles.ts';
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.ts';
import type { CheckpointStore } from '../checkpoint/store.ts';
import { stateBytes } from '../checkpoint/writer.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import { configSchema } from '../config/schema.ts';
import type { Dataset } from '../data/dataset.ts';
import { createTokenizer } from '../data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { tokenizerHash } from '../data/tokenizers/tokenizerHash.ts';
import { findCheckpoint } from './findCheckpoint.ts';
import { hasTokenizer, openTokenizer } from './loadModel.ts';
import type { RunMessages } from './messages.ts';

const ZEROS = new Uint8Array(2 ** 20);

export interface InitialWeights {
  readonly checkpoint: Checkpoint;
  /** Undefined for a folder without one: the tokenizer of the data applies. */
  readonly tokenizer: Tokenizer | undefined;
}

export interface WeighedConfig {
  /** With the sizes and the tokenizer of the weights. */
  readonly config: Config;
  readonly weights: InitialWeights;
}

/**
 * Opens the weights that `model.from` names.
 * @param options `chosen` are the keys that the user chose: only those can contradict the weights
 * @throws UserError if they are missing, and for a key that contradicts them
 */
export async function openInitialWeights(
  given: Config,
  { chosen, cwd, messages }: { chosen: readonly string[]; cwd: string; messages: RunMessages },
): Promise<WeighedConfig> {
  const { from } = given.model;
  const checkpoint = await findCheckpoint({ path: from, cwd, onWarning: messages.warn, verify: 'model' });
  const model = withSizes(given, checkpoint.modelConfig, chosen);
  const tokenizer = hasTokenizer(checkpoint) ? await openTokenizer(checkpoint) : undefined;
  if (tokenizer === undefined) {
    messages.warn(
      `${from} has no tokenizer: using that of the data, which must be the one that the weights were trained with`,
    );
  } else if (chosen.includes('data.tokenizer')) {
    await checkTokenizer(given, tokenizer, cwd);
  }
  const data = { ...given.data, ...(tokenizer && { tokenizer: tokenizer.kind }) };
  const config = { ...given, model, data };
  checkRules(config);
  const { dropout } = { dropout: undefined, ...model };
  messages.note(
    `starts with the weights of ${shortPath(checkpoint.path, cwd)}: ${grouped(parameterCount(checkpoint.modelConfig))} parameters, ` +
      `${architectureOf(model).summary(modelOf(model, model.vocabSize))}, context ${grouped(model.blockSize)}` +
      `${dropout === undefined ? '' : `, dropout ${dropout}`}`,
  );
  return { config, weights: { checkpoint, tokenizer } };
}

/** The model of the weights. A run may choose only keys that change no parameter. */
function withSizes({ model: given }: Config, sizes: ModelConfig, chosen: readonly string[]): Config['model'] {
  const [wanted, has]: Readonly<Record<string, unknown>>[] = [{ ...given }, { ...sizes }];
  const own: Record<string, unknown> = {};
  for (const key of Object.keys(given)) {
    const value = wanted?.[key];
    if (key === 'from' || !chosen.includes(`model.${key}`)) continue;
    if (architectureOf(sizes).trainingKeys.includes(key)) own[key] = value;
    // 0 uses the actual size.
    else if (value !== has?.[key] && !(key === 'vocabSize' && value === 0)) {
      const its =
        has !== undefined && key in has ? `have ${JSON.stringify(has[key])}` : `are of a ${sizes.architecture}`;
      throw new UserError(
        `model.${key} is ${JSON.stringify(value)}, but the weights of ${given.from} ${its}: omit model.${key}, since sizes come from model.from`,
      );
    }
  }
  return { ...sizes, ...own, from: given.from } as Config['model'];
}

async function checkTokenizer({ data, model }: Config, tokenizer: Tokenizer, cwd: string): Promise<void> {
  if (data.tokenizer === tokenizer.kind) return;
  // A tokenizer that is not trained on the text is fully defined by its name.
  const isFixed = data.tokenizer !== 'char' && !data.tokenizer.startsWith('bpe:');
  if (isFixed && tokenizerHash(await createTokenizer(data.tokenizer, '', { cwd })) === tokenizerHash(tokenizer)) return;
  throw new UserError(
    `data.tokenizer is ${data.tokenizer}, but the weights of ${model.from} were trained with ${tokenizer.kind} ` +
      `(${grouped(tokenizer.vocabSize)} tokens): omit data.tokenizer, since it comes from model.from`,
  );
}

/** Checks the rules that need the sizes. */
function checkRules(config: Config): void {
  const result = configSchema.safeParse({ ...config, model: { ...config.model, from: '' } });
  const issue = result.error?.issues[0];
  if (issue === undefined) return;
  const detail = issue.code === 'custom' ? issue.params?.['detail'] : undefined;
  throw new UserError(`with the weights of ${config.model.from}: ${issue.message}${detail ? `: ${detail}` : ''}`);
}

/** Describes the weights for the record of the run: their location and the hashes of their files. */
export async function describeWeights({ checkpoint }: InitialWeights): Promise<string> {
  const { path, step, weightFiles } = checkpoint;
  const files: string[] = [];
  for (const file of weightFiles) {
    const { size } = await stat(file);
    files.push(`${basename(file)} sha256 ${await hashFile(file, size)}`);
  }
  return `the weights of ${path}${step === undefined ? '' : ` (step ${step})`}: ${files.join(', ')}`;
}

/**
 * Writes the weights as the checkpoint of step 0, with the moments of an optimizer that has made no step.
 * @throws PeerError if the disk is full or fails
 */
export async function writeInitialCheckpoint(
  store: CheckpointStore,
  { checkpoint }: InitialWeights,
  { config, dataset }: { config: Config; dataset: Dataset },
): Promise<Checkpoint> {
  const modelConfig = modelOf(config.model, dataset.vocabSize);
  const tensors = declaredTensors(modelConfig, config.train.trainable);
  const trained = tensors.filter((tensor) => tensor.trained);
  const names = tensors.map(({ name }) => name);
  const writer = await store.beginWrite({
    tensors,
    moments: trained.map(({ name }) => name),
    modelConfig,
    tokenizerFiles: dataset.tokenizer.files(),
    endOfText: dataset.tokenizer.endOfText,
    trainer: {
      step: 0,
      seed: config.train.seed,
      data: { sha256: dataset.sha256, samplesSeen: 0 },
      valLoss: null,
      config: { ...config },
    },
  });
  try {
    for await (const chunk of checkpoint.stream('params', names)) await writer.write(chunk);
    for (let left = stateBytes(tensors, trained) - stateBytes(tensors, []); left > 0; left -= ZEROS.length) {
      await writer.write(ZEROS.subarray(0, Math.min(left, ZEROS.length)));
    }
    return await openCheckpoint(await writer.commit());
  } catch (error) {
    await writer.abort();
    throw error;
  }
}
