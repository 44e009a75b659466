/**
 * From a path on the command line to a model that can compute: finds the checkpoint (`findCheckpoint.ts`), opens its tokenizer, starts an engine and
 * fills in the parameters. For inference: no gradients and no moments are allocated. Used by `generate`, `eval` and the sample
 * that ends a run.
 */
import { architectureOf } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { shortPath } from '../base/shortPath.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { Config } from '../config/configTypes.ts';
import { storedConfig } from '../config/renamedKeys.ts';
import { configSchema } from '../config/schema.ts';
import { createTokenizer, tokenizerFromFiles } from '../data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import type { Engine } from '../engine/engine.ts';
import { createEngine, type EngineOptions, engineWarning, selectEngine } from '../engine/registry.ts';
import { Model } from '../model/model.ts';
import { parameterSpecs } from '../model/parameterOrder.ts';
import { Parameters } from '../model/parameterStore.ts';
import type { StateEntry } from '../model/replicaState.ts';
import { type CheckpointChoice, findCheckpoint } from './findCheckpoint.ts';

export interface LoadModelOptions extends CheckpointChoice {
  readonly engine: EngineOptions;
}

export interface LoadedModel {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  /** The caller ends it with `engine.dispose()`. */
  readonly engine: Engine;
  readonly model: Model;
  /** The config of the run that wrote the checkpoint; undefined for a folder that no run wrote. */
  readonly runConfig: Config | undefined;
  /** One line of text: the checkpoint, its size and the engine. */
  readonly description: string;
}

/** @throws UserError for a path that is not a checkpoint, a damaged checkpoint, or a missing engine */
export async function loadModel(options: LoadModelOptions): Promise<LoadedModel> {
  const checkpoint = await findCheckpoint({ ...options, verify: 'model' });
  const tokenizer = await openTokenizer(checkpoint);
  const runConfig = readRunConfig(checkpoint);
  const { engine, parameters } = await loadParameters(checkpoint, options);
  const model = new Model(engine, checkpoint.modelConfig, parameters);
  const description = describe(checkpoint, parameters.count, { engine, cwd: options.cwd });
  return { checkpoint, tokenizer, engine, model, runConfig, description };
}

/**
 * Starts an engine and fills in the parameters of a checkpoint.
 * @returns the engine, which the caller ends with `dispose`, and the parameters on it
 */
export async function loadParameters(
  checkpoint: Checkpoint,
  options: Pick<LoadModelOptions, 'engine' | 'onWarning'>,
): Promise<{ readonly engine: Engine; readonly parameters: Parameters }> {
  const warning = await engineWarning(await selectEngine(options.engine));
  if (warning !== undefined) options.onWarning(warning);
  const engine = await createEngine(options.engine);
  try {
    const parameters = new Parameters(engine, parameterSpecs(checkpoint.modelConfig), { training: false });
    await fillParameters(parameters, checkpoint);
    return { engine, parameters };
  } catch (error) {
    await engine.dispose();
    throw error;
  }
}

/** Whether the folder says what its tokenizer is, or its model is one of which that is known. @throws UserError for one that is not read */
export function hasTokenizer(checkpoint: Checkpoint): boolean {
  checkTokenizer(checkpoint);
  return !isBare(checkpoint) || publishedTokenizer(checkpoint) !== undefined;
}

function isBare({ step, tokenizerFiles }: Checkpoint): boolean {
  return step === undefined && !('tokenizer.json' in tokenizerFiles);
}

function publishedTokenizer({ modelConfig }: Checkpoint) {
  return architectureOf(modelConfig).huggingFace?.tokenizer?.(modelConfig);
}

function checkTokenizer({ path, unreadTokenizer }: Checkpoint): void {
  if (unreadTokenizer === undefined) return;
  throw new UserError(
    `${path} has its tokenizer in ${unreadTokenizer} (SentencePiece), which Lockstep does not read. Put a tokenizer.json with the ids of its vocab.json there, or remove ${unreadTokenizer} to use the weights with the tokenizer of your data`,
  );
}

/** @throws UserError for a folder without one or with one that is not read, and for one that has more tokens than the model */
export async function openTokenizer(checkpoint: Checkpoint): Promise<Tokenizer> {
  checkTokenizer(checkpoint);
  const { tokenizerFiles, modelConfig, path } = checkpoint;
  const published = isBare(checkpoint) ? publishedTokenizer(checkpoint) : undefined;
  const tokenizer =
    published === undefined ? await tokenizerFromFiles(tokenizerFiles, path) : await createTokenizer(published, '');
  if (tokenizer.vocabSize > modelConfig.vocabSize) {
    throw new UserError(
      `${path}: the tokenizer has ${tokenizer.vocabSize} tokens, but the model only ${modelConfig.vocabSize}: they do not match`,
    );
  }
  return tokenizer;
}

function readRunConfig({ trainer, path }: Checkpoint): Config | undefined {
  if (trainer === undefined) return undefined;
  const result = configSchema.safeParse(storedConfig(trainer.config));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new UserError(
    `${path}/trainer.json: its config does not fit this version: ${issue?.path.join('.')}: ${issue?.message}`,
  );
}

/** Reads the model of a checkpoint into parameters without training. */
export async function fillParameters(parameters: Parameters, checkpoint: Checkpoint): Promise<void> {
  for (const [index, { name }] of parameters.specs.entries()) {
    await fillTensor(parameters, checkpoint, { part: 'model', block: 'params', index, name });
  }
}

/** Reads a part of one parameter from a checkpoint into a block, directly into the engine's memory if that is host memory. */
export async function fillTensor(
  parameters: Parameters,
  checkpoint: Checkpoint,
  { part, block, index, name }: StateEntry,
): Promise<void> {
  const values = parameters.hostTensor(block, index);
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let filled = 0;
  for await (const chunk of checkpoint.stream(part, [name])) {
    bytes.set(chunk, filled);
    filled += chunk.length;
  }
  parameters.writeTensor(block, index, values);
}

function describe(
  { path, step, trainer }: Checkpoint,
  parameterCount: number,
  { engine, cwd }: { engine: Engine; cwd: string },
): string {
  const loss = trainer?.valLoss == null ? '' : `, validation loss ${trainer.valLoss.toFixed(4)}`;
  const at = step === undefined ? '' : ` (step ${step}${loss})`;
  return `${shortPath(path, cwd)}${at}: ${grouped(parameterCount)} parameters, ${engine.description}`;
}
