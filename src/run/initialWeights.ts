/**
 * Initial weights instead of random ones (`model.from`). They are found, compared with the config, which takes their sizes and tokenizer,
 * and written as the run's checkpoint of step 0. Workers receive them from there, as in a resumed run, and the run no longer needs their
 * folder. Parameters that the weights lack have the values of a model without weights, and those that the model lacks are dropped.
 */
import { basename } from 'node:path';
import { loraOf } from '../architecture/lora.ts';
import type { ParameterSpec } from '../architecture/parameters.ts';
import {
  architectureOf,
  isSameValue,
  labelsOf,
  type ModelConfig,
  networkOf,
  parameterCount,
  withAddedKeys,
  withComputedSizes,
} from '../architecture/registry.ts';
import { declaredTensors, isTrainedBy } from '../architecture/trainable.ts';
import { invariant, UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { optionName, ownCommand } from '../base/ownCommand.ts';
import { shortPath } from '../base/shortPath.ts';
import { tensorsOf } from '../base/stateParts.ts';
import { storedPath } from '../base/userPath.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { isCheckpointFolder } from '../checkpoint/checkpointFolder.ts';
import { openCheckpoint } from '../checkpoint/openCheckpoint.ts';
import type { CheckpointStore } from '../checkpoint/store.ts';
import { stateBytes } from '../checkpoint/writer.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import { configSchema } from '../config/schema.ts';
import type { RunData } from '../data/runData.ts';
import { createTokenizer } from '../data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { tokenizerHash } from '../data/tokenizers/tokenizerHash.ts';
import { fillInitial } from '../model/initialValues.ts';
import { sharesWeights } from '../model/referenceModel.ts';
import { hashStored, sizeOfStored } from '../objectStore/storedFiles.ts';
import { isPolicyKind } from '../task/kinds.ts';
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
 * @param options `chosen` are the keys that the user chose: only those can contradict the weights. `suggested` are those of the shipped config that
 * the user named: they apply where the weights leave a choice
 * @throws UserError if they are missing, and for a key that contradicts them
 */
export async function openInitialWeights(
  given: Config,
  {
    chosen,
    suggested,
    cwd,
    messages,
  }: { chosen: readonly string[]; suggested: readonly string[]; cwd: string; messages: RunMessages },
): Promise<WeighedConfig> {
  const { from } = given.model;
  const checkpoint = await findCheckpoint({ path: from, cwd, onWarning: messages.warn, verify: 'model' });
  if (checkpoint.trainingProblem !== undefined) throw new UserError(checkpoint.trainingProblem);
  const model = withSizes(given, checkpoint.modelConfig, { chosen, suggested });
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
  checkStart(config, checkpoint.modelConfig);
  return { config, weights: { checkpoint, tokenizer } };
}

/**
 * Tells what the run takes from its weights.
 * @param model with the labels of its rows
 */
export function noteInitialWeights(
  { checkpoint }: InitialWeights,
  model: Config['model'],
  { cwd, note }: { cwd: string; note: RunMessages['note'] },
): void {
  const { dropout } = { dropout: undefined, ...model };
  const sizes = modelOf(model, model.vocabSize);
  note(
    `starts with the weights of ${shortPath(checkpoint.path, cwd)}: ${grouped(parameterCount(checkpoint.modelConfig))} parameters, ` +
      `${architectureOf(model).summary(sizes)}, context ${grouped(model.blockSize)}` +
      `${dropout === undefined ? '' : `, dropout ${dropout}`}${changesOf(sizes, checkpoint.modelConfig)}`,
  );
}

/** The parameters in which the model differs from its weights, for people. */
function changesOf(model: ModelConfig, weights: ModelConfig): string {
  const now = networkOf(model).specs.map(({ name }) => name);
  const before = networkOf(weights).specs.map(({ name }) => name);
  const used = usedNames(weights, model);
  const shown = (names: readonly string[]) =>
    names.length > namesShown ? [...names.slice(0, namesShown), '…'].join(', ') : names.join(', ');
  const added = shown(now.filter((name) => !used.has(name)));
  const dropped = shown(before.filter((name) => !now.includes(name) || !used.has(name)));
  return `${added && `; new, with random values: ${added}`}${dropped && `; not used: ${dropped}`}`;
}

/** The names of the parameters that the weights give to the model. A head for other labels gives none: its rows are other classes. */
function usedNames(weights: ModelConfig, model: ModelConfig): ReadonlySet<string> {
  const isSameHead = isSameValue(labelsOf(weights), labelsOf(model));
  const given = isSameHead ? weights : ({ ...weights, labels: [] } as ModelConfig);
  const has = new Set(networkOf(weights).specs.map(({ name }) => name));
  return new Set(networkOf(given).specs.flatMap(({ name }) => (has.has(name) ? [name] : [])));
}

const namesShown = 4;

/** The model of the weights. A run may choose only keys that change no parameter, or add some to weights that have none of the kind. */
function withSizes(
  { model: given, task }: Config,
  sizes: ModelConfig,
  { chosen, suggested }: { chosen: readonly string[]; suggested: readonly string[] },
): Config['model'] {
  const wanted: Readonly<Record<string, unknown>> = { ...given };
  const has = withAddedKeys(withComputedSizes(sizes));
  const sizeOf = (key: string) => withAddedKeys(withComputedSizes({ ...sizes, [key]: wanted[key] }))[key];
  const { trainingKeys, freeKeys, addedKeys, keys } = architectureOf(sizes);
  const ownKeys = [...trainingKeys, ...(freeKeys?.(sizes) ?? [])];
  const isAbsent = (key: string, value: unknown) => isSameValue(value, keys.shape[key]?.safeParse(undefined).data);
  const lora: Readonly<Record<string, unknown>> = { ...loraOf(sizes) };
  const own: Record<string, unknown> = {};
  const isFree = (key: string) => trainingKeys.includes(key) || (addedKeys.includes(key) && isAbsent(key, has[key]));
  for (const key of Object.keys(given)) {
    const value = wanted[key];
    const applies = chosen.includes(`model.${key}`) || (suggested.includes(`model.${key}`) && isFree(key));
    if (key === 'from' || key === 'valueHead' || !applies) continue;
    if (ownKeys.includes(key)) own[key] = value;
    else if (key in lora && !isSameValue(value, lora[key])) {
      throw new UserError(
        `model.${key} is ${JSON.stringify(value)}, but the weights of ${given.from} have adapters with ${JSON.stringify(lora[key])}: ` +
          `omit model.${key} to train these further, or first merge them (${ownCommand('merge')})`,
      );
    } else if (addedKeys.includes(key) && (isAbsent(key, has[key]) || isAbsent(key, value))) own[key] = value;
    // 0 uses the actual size.
    else if (!isSameValue(sizeOf(key), has[key]) && !(key === 'vocabSize' && value === 0)) {
      const its = key in has ? `have ${JSON.stringify(has[key])}` : `are of ${sizes.architecture}`;
      throw new UserError(
        `model.${key} is ${JSON.stringify(value)}, but the weights of ${given.from} ${its}: omit model.${key}, since sizes come from model.from`,
      );
    }
  }
  // The task decides, not the run that the weights come from.
  if (Object.hasOwn(keys.shape, 'valueHead')) own['valueHead'] = task.kind === 'ppo';
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
  const { detail, cure } = (issue.code === 'custom' ? issue.params : undefined) ?? {};
  throw new UserError(
    `with the weights of ${config.model.from}: ${issue.message}${detail ? `: ${detail}` : ''}${cure ? `. ${cure}` : ''}`,
  );
}

/**
 * The start of a policy is computed as the model without its adapters, if only those are trained. With adapters that another run has
 * trained that would be another model: the one before that run.
 */
function checkStart({ model, task, train }: Config, weights: ModelConfig): void {
  if (!isPolicyKind(task.kind) || loraOf(weights) === undefined) return;
  if (!sharesWeights(modelOf(model, model.vocabSize), isTrainedBy(train.trainable))) return;
  throw new UserError(
    `the weights of ${model.from} have adapters, but with task.kind ${task.kind} the model is compared with the one at the start, ` +
      `and while only adapters are trained that is the model without any: merge these first (${ownCommand('merge', model.from, '--out', 'merged')}), ` +
      `then start from the merged weights (${optionName('init-from')} merged)`,
  );
}

/**
 * The same for a run that is resumed, if the weights that it started with still exist. Runs that began before this was refused have measured the divergence
 * from another model.
 * @throws UserError as at the start
 */
export async function checkStartOfPolicy(config: Config, vocabSize: number, cwd: string): Promise<void> {
  const { model, task } = config;
  if (!isPolicyKind(task.kind) || model.from === '' || loraOf(model) === undefined) return;
  if (!(await isCheckpointFolder(storedPath(cwd, model.from)))) return;
  const { modelConfig } = await findCheckpoint({ path: model.from, cwd, onWarning: () => undefined, verify: 'model' });
  checkStart({ ...config, model: { ...model, vocabSize } }, modelConfig);
}

/** Describes the weights for the record of the run: their location and the hashes of their files. */
export async function describeWeights({ checkpoint }: InitialWeights): Promise<string> {
  const { path, step, weightFiles } = checkpoint;
  const files: string[] = [];
  for (const file of weightFiles) {
    files.push(`${basename(file)} sha256 ${await hashStored(file, await sizeOfStored(file))}`);
  }
  return `the weights of ${path}${step === undefined ? '' : ` (step ${step})`}: ${files.join(', ')}`;
}

/** As in a model without weights. */
function initialBytes(spec: ParameterSpec, seed: number): Uint8Array {
  const values = new Float32Array(spec.size);
  fillInitial(values, spec, seed);
  return new Uint8Array(values.buffer);
}

/**
 * Writes the weights as the checkpoint of step 0, with the moments of an optimizer that has made no step.
 * @throws PeerError if the disk is full or fails
 */
export async function writeInitialCheckpoint(
  store: CheckpointStore,
  { checkpoint }: InitialWeights,
  { config, data }: { config: Config; data: RunData },
): Promise<Checkpoint> {
  const modelConfig = modelOf(config.model, data.vocabSize);
  const tensors = declaredTensors(modelConfig, config.train.trainable, config.optimizer);
  const writer = await store.beginWrite({
    tensors,
    modelConfig,
    tokenizerFiles: data.tokenizer.files(),
    endOfText: data.tokenizer.endOfText,
    trainer: {
      step: 0,
      seed: config.train.seed,
      data: { sha256: data.sha256, samplesSeen: 0 },
      valLoss: null,
      config: { ...config },
    },
  });
  try {
    const used = usedNames(checkpoint.modelConfig, modelConfig);
    const given = new Map(checkpoint.tensors.map(({ name, shape }) => [name, used.has(name) ? shape : undefined]));
    const specs = new Map(networkOf(modelConfig).specs.map((spec) => [spec.name, spec]));
    const moments = tensors.map((tensor) => ({
      ...tensor,
      parts: tensor.parts.filter((part) => part === 'm' || part === 'v'),
    }));
    // The average of weights that no step has changed is the weights.
    for (const { name } of [...tensors, ...tensorsOf('weights', tensors)]) {
      const spec = specs.get(name)!;
      const shape = given.get(name);
      invariant(shape === undefined || `${shape}` === `${spec.shape}`, `the weights of ${name} have another shape`);
      if (shape === undefined) await writer.write(initialBytes(spec, config.train.seed));
      else for await (const chunk of checkpoint.stream('model', [name])) await writer.write(chunk);
    }
    for (let left = stateBytes(moments); left > 0; left -= ZEROS.length) {
      await writer.write(ZEROS.subarray(0, Math.min(left, ZEROS.length)));
    }
    return await openCheckpoint(await writer.commit());
  } catch (error) {
    await writer.abort();
    throw error;
  }
}
