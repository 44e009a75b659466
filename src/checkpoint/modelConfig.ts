/**
 * Reads and writes a checkpoint's `config.json` and matches its tensors to the model. Architectures that Hugging Face knows use its
 * format (an architecture's `huggingFace`); the others use Lockstep's own, marked `model_type: lockstep`.
 */
import { z } from 'zod';
import type { HuggingFaceFormat, Sizes } from '../architecture/architecture.ts';
import type { ParameterSpec } from '../architecture/parameters.ts';
import {
  architectureOf,
  architectures,
  findArchitecture,
  type ModelConfig,
  modelKeys,
  modelProblem,
  networkOf,
} from '../architecture/registry.ts';
import { fillSinusoidal } from '../architecture/sinusoidal.ts';
import { UserError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import { elementCount, type TensorShape } from './safetensors.ts';

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
  const format = formats.find(({ modelTypes }) => modelTypes.some((type) => type === modelType));
  if (format !== undefined) return format.decode(json, path);
  const came = JSON.stringify({ model_type: modelType, architectures: classes }).slice(0, 300);
  const known = [...formats.flatMap(({ modelTypes }) => modelTypes), ownModelType].join(' or ');
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
 * The tensors of a model's file with these parameters, in their order. Hugging Face's format may have several for a parameter: the
 * numbers are the same.
 */
export function fileTensorsOf(parameters: readonly TensorShape[], config: ModelConfig): readonly TensorShape[] {
  const { huggingFace } = architectureOf(config);
  const isOwn = huggingFace?.tensorsOf === undefined || !isOfHuggingFace(config);
  return isOwn ? parameters : parameters.flatMap((parameter) => partsOf(parameter, config));
}

/** Whether Hugging Face's format has this model, so that transformers loads its folder. */
export function isOfHuggingFace(config: ModelConfig): boolean {
  return architectureOf(config).huggingFace?.encode(config, undefined) !== undefined;
}

/** The tensors that hold the numbers of a parameter in Hugging Face's format, one after another. */
export function partsOf({ name, shape }: TensorShape, config: ModelConfig): readonly TensorShape[] {
  return architectureOf(config).huggingFace?.tensorsOf?.({ name, shape }, config) ?? [{ name, shape }];
}

/** A parameter, and the entries of a file that hold its numbers, one after another; none for a fixed table of positions that the file lacks. */
export interface Matched<Entry> {
  readonly shape: readonly number[];
  readonly parts: readonly Entry[];
}

/**
 * Checks a file's tensors against the config and maps them to Lockstep's names; another library's export may use different ones.
 * @returns Lockstep's name → the file's entries
 * @throws UserError naming the tensor that is missing, unknown or has a different shape
 */
export function matchTensors<Entry extends TensorShape>(
  entries: readonly Entry[],
  config: ModelConfig,
  path: string,
): Map<string, Matched<Entry>> {
  const { huggingFace } = architectureOf(config);
  const { specs } = networkOf(config);
  const expected = new Map(
    specs.flatMap((spec) => [spec, ...partsOf(spec, config)]).map(({ name, shape }) => [name, shape]),
  );
  const found = new Map<string, Entry>();
  for (const entry of entries) {
    const name = huggingFace === undefined ? entry.name : huggingFace.tensorName(entry.name, config);
    if (name === undefined) continue;
    const shape = expected.get(name);
    if (shape === undefined) {
      throw new UserError(
        `${path} has tensor ${JSON.stringify(entry.name.slice(0, 200))}, which the model in its config.json does not have`,
      );
    }
    if (found.has(name)) throw damaged(path, `tensor ${name} appears twice, with and without its prefix`);
    if (shape.length !== entry.shape.length || shape.some((length, axis) => length !== entry.shape[axis])) {
      throw new UserError(`${path}: tensor ${name} has shape [${entry.shape}], but its config.json implies [${shape}]`);
    }
    found.set(name, entry);
  }
  const matched = new Map<string, Matched<Entry>>();
  for (const spec of inFileOrder(specs, config, [...found.keys()])) {
    matched.set(spec.name, matchParameter(spec, config, { found, path }));
  }
  const used = [...matched.values()].reduce((sum, { parts }) => sum + parts.length, 0);
  if (used < found.size) throw damaged(path, 'it has a tensor both in one piece and in parts');
  return matched;
}

/** Those of which the file has nothing come last. */
function inFileOrder(specs: readonly ParameterSpec[], config: ModelConfig, names: readonly string[]) {
  const owners = new Map(
    specs.flatMap((spec) => [spec, ...partsOf(spec, config)].map(({ name }) => [name, spec] as const)),
  );
  return new Set([...names.flatMap((name) => owners.get(name) ?? []), ...specs]);
}

/** A parameter may be in one piece, as Lockstep writes it with adapters, or in the parts of another library's format. */
function matchParameter<Entry>(
  spec: ParameterSpec,
  config: ModelConfig,
  { found, path }: { found: ReadonlyMap<string, Entry>; path: string },
): Matched<Entry> {
  const { name, shape } = spec;
  const complete = found.get(name);
  if (complete !== undefined) return { shape, parts: [complete] };
  if ('sinusoidal' in spec.init) return { shape, parts: [] };
  const parts = partsOf(spec, config).map((part) => {
    const entry = found.get(part.name);
    if (entry === undefined) throw new UserError(`${path} lacks tensor ${part.name}, which its config.json requires`);
    return entry;
  });
  return { shape, parts };
}

/** The numbers of a matched parameter of which the file has nothing. */
export function fixedTable(shape: readonly number[]): Float32Array {
  const values = new Float32Array(elementCount(shape));
  fillSinusoidal(values, shape.at(-1)!);
  return values;
}
