/**
 * Reads and writes a checkpoint's `config.json` and matches its tensors to the model. Architectures that Hugging Face knows use its
 * format (an architecture's `huggingFace`); the others use Lockstep's own, marked `model_type: lockstep`.
 */
import { z } from 'zod';
import type { HuggingFaceFormat, Sizes } from '../architecture/architecture.ts';
import {
  architectureOf,
  architectures,
  findArchitecture,
  type ModelConfig,
  modelKeys,
  modelProblem,
  networkOf,
} from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import type { TensorShape } from './safetensors.ts';

const ownModelType = 'lockstep';
const ownVersion = 1;
const ownSchema = z.object({ lockstep: z.object({ version: z.number(), model: z.record(z.string(), z.unknown()) }) });

/**
 * The text of `config.json`. The same model and tokenizer always give the same bytes.
 * @param endOfText the tokenizer's id of the end-of-document token; undefined if it has none
 */
export function encodeModelConfig(config: ModelConfig, endOfText: number | undefined): string {
  const { huggingFace } = architectureOf(config);
  const own = { model_type: ownModelType, torch_dtype: 'float32', lockstep: { version: ownVersion, model: config } };
  return `${JSON.stringify(huggingFace?.encode(config, endOfText) ?? own, undefined, 2)}\n`;
}

/**
 * Reads a parsed `config.json`.
 * @throws UserError when it describes an unknown architecture or an unsupported variant
 */
export function decodeModelConfig(json: Readonly<Record<string, unknown>>, path: string): ModelConfig {
  const isOwn = json['model_type'] === ownModelType;
  const result = modelKeys.safeParse(isOwn ? ownModel(json, path) : foreignModel(json, path));
  if (!result.success) {
    const issue = result.error.issues[0];
    const problem = `model.${issue?.path.join('.')}: ${issue?.message}`;
    if (isOwn) throw damaged(path, problem);
    throw new UserError(`${path} describes a model that Lockstep does not support: ${problem}`);
  }
  const problem = modelProblem(result.data);
  if (problem !== undefined) throw damaged(path, problem);
  return result.data;
}

/** Every key of the architecture must be present. */
function ownModel(json: Readonly<Record<string, unknown>>, path: string): unknown {
  const result = ownSchema.safeParse(json);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw damaged(path, `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { version, model } = result.data.lockstep;
  if (version !== ownVersion) {
    throw new UserError(
      `${path}: lockstep.version is ${version}, which is not supported: expected ${ownVersion} (a newer Lockstep wrote this)`,
    );
  }
  const architecture = findArchitecture(model['architecture']);
  if (architecture === undefined && typeof model['architecture'] === 'string') {
    const known = architectures.map(({ name }) => name).join(', ');
    throw new UserError(
      `${path}: unknown architecture ${JSON.stringify(model['architecture'].slice(0, 100))}, known: ${known} (a newer Lockstep may have written this)`,
    );
  }
  // A default could describe a different model from the saved one. `architecture` has a default too. Absent added keys add nothing.
  const { keys, addedKeys = [] } = architecture ?? {};
  const needed = Object.keys(keys?.shape ?? {}).filter((key) => !addedKeys.includes(key));
  const missing = ['architecture', ...needed].find((key) => !(key in model));
  if (missing !== undefined) throw damaged(path, `lockstep.model.${missing} is missing`);
  return model;
}

function foreignModel(json: Readonly<Record<string, unknown>>, path: string): Sizes {
  const { model_type: modelType, architectures: classes } = json;
  const format = formats.find((each) => each.modelType === modelType);
  if (format !== undefined) return format.decode(json, path);
  const came = JSON.stringify({ model_type: modelType, architectures: classes }).slice(0, 300);
  const known = [...formats.map((each) => each.modelType), ownModelType].join(' or ');
  throw new UserError(`${path} describes another architecture: ${came}; supported: model_type ${known}`);
}

const formats: readonly HuggingFaceFormat<Sizes>[] = architectures.flatMap(({ huggingFace }) => huggingFace ?? []);

/**
 * The config of the model in a file of tensors. The tensors' names overrule config.json, because another library may have changed
 * the tensors and kept the old config.json.
 */
export function modelConfigOf(entries: readonly TensorShape[], config: ModelConfig): ModelConfig {
  const names = entries.map(({ name }) => name);
  const shown = architectureOf(config).huggingFace?.ofTensors?.(config, names) ?? config;
  return modelKeys.parse(shown);
}

/**
 * Checks a file's tensors against the config and maps them to Lockstep's names; another library's export may use different ones.
 * @returns Lockstep's name → the file's entry
 * @throws UserError naming the tensor that is missing, unknown or has a different shape
 */
export function matchTensors<Entry extends TensorShape>(
  entries: readonly Entry[],
  config: ModelConfig,
  path: string,
): Map<string, Entry> {
  const { huggingFace } = architectureOf(config);
  const expected = new Map(networkOf(config).specs.map(({ name, shape }) => [name, shape]));
  const matched = new Map<string, Entry>();
  for (const entry of entries) {
    const name = huggingFace === undefined ? entry.name : huggingFace.parameterName(entry.name, config);
    if (name === undefined) continue;
    const shape = expected.get(name);
    if (shape === undefined) {
      throw new UserError(
        `${path} has tensor ${JSON.stringify(entry.name.slice(0, 200))}, which the model in its config.json does not have`,
      );
    }
    if (matched.has(name)) throw damaged(path, `tensor ${name} appears twice, with and without its prefix`);
    if (shape.length !== entry.shape.length || shape.some((length, axis) => length !== entry.shape[axis])) {
      throw new UserError(`${path}: tensor ${name} has shape [${entry.shape}], but its config.json implies [${shape}]`);
    }
    matched.set(name, entry);
  }
  for (const name of expected.keys()) {
    if (!matched.has(name)) throw new UserError(`${path} lacks tensor ${name}, which its config.json requires`);
  }
  return matched;
}
