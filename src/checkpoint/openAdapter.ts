/** Opens a folder of PEFT: the tensors of an adapter, and the base that they change, which is another folder. */
import { resolve } from 'node:path';
import { loraOf } from '../architecture/lora.ts';
import { labelsOf, type ModelConfig, modelKeys, networkOf } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { fromFolder, inFolder, isObjectPath } from '../base/objectPath.ts';
import { parseJsonObject } from '../base/strictJson.ts';
import { isStored, readStored } from '../objectStore/storedFiles.ts';
import { Checkpoint } from './checkpoint.ts';
import { isCheckpointFolder } from './checkpointFolder.ts';
import { CONFIG_BYTES_MAX } from './manifest.ts';
import { matchTensors } from './modelConfig.ts';
import {
  ADAPTER_CONFIG_FILE,
  ADAPTER_FILE,
  adaptedArchitectures,
  baseOfAdapter,
  decodeAdapterConfig,
  type PeftAdapter,
  parameterOfPeft,
} from './peftAdapter.ts';
import { withMergedFactors } from './peftFactors.ts';
import type { TensorShape } from './safetensors.ts';
import { checkDtypes, noMoments, readTensors } from './tensorTables.ts';

/** Opens the base without the optimizer's file. `openCheckpoint`, which may call `openAdapter` itself. */
type OpenBase = (path: string, options: { readonly verify: 'model' }) => Promise<Checkpoint>;

/**
 * An adapter of PEFT, with the weights of its base.
 * @throws UserError naming the file and the problem: the base is not found or has adapters itself, a tensor does not fit it
 */
export async function openAdapter(path: string, openWeights: OpenBase): Promise<Checkpoint> {
  const configPath = inFolder(path, ADAPTER_CONFIG_FILE);
  const json = parseJsonObject(await readStored(configPath, CONFIG_BYTES_MAX), configPath);
  const { base, architecture } = await openBase(baseOfAdapter(json, configPath), path, openWeights);
  const adapter = decodeAdapterConfig(json, configPath, architecture);
  const filePath = inFolder(path, ADAPTER_FILE);
  const tensors = (await readTensors(path, ADAPTER_FILE)).map((entry) => ({
    name: parameterOfPeft(entry.name, filePath),
    shape: entry.shape,
    parts: [entry],
  }));
  const { lora } = adapter;
  const own = await withMergedFactors(tensors, { ...base.modelConfig, ...lora } as ModelConfig, filePath);
  const modelConfig = modelKeys.parse({
    ...base.modelConfig,
    ...lora,
    ...labelsOfAdapter(adapter, base, own, filePath),
  });
  const expected = new Set(networkOf(modelConfig).specs.map(({ name }) => name));
  const ownNames = new Set(own.map(({ name }) => name));
  const kept = [...base.placedTensors].filter(([name]) => expected.has(name) && !ownNames.has(name));
  const matched = matchTensors([...kept.map(([name, each]) => ({ ...each, name })), ...own], modelConfig, filePath);
  const params = new Map(
    [...matched].map(([name, { shape, parts }]) => [name, { shape, parts: parts.flatMap((each) => each.parts) }]),
  );
  checkDtypes(params, path);
  const { dropout } = adapter;
  return new Checkpoint({
    path,
    step: undefined,
    modelConfig,
    trainer: undefined,
    tokenizerFiles: base.tokenizerFiles,
    tables: { model: params, ...noMoments },
    base: base.path,
    ...(dropout > 0 && {
      trainingProblem: `${configPath}: lora_dropout is ${dropout}, but Lockstep trains adapters without dropout of their own: set it to 0 there`,
    }),
  });
}

/** The base is a folder, found from that of the adapter or from the working folder. */
async function openBase(
  named: string | undefined,
  adapterPath: string,
  openWeights: OpenBase,
): Promise<{ base: Checkpoint; architecture: (typeof adaptedArchitectures)[number] }> {
  const configPath = inFolder(adapterPath, ADAPTER_CONFIG_FILE);
  // A downloaded adapter does not choose what is fetched with the keys of the user.
  const isPlace = named !== undefined && !isObjectPath(named);
  for (const path of isPlace ? [fromFolder(adapterPath, named), resolve(named)] : []) {
    if (path === adapterPath || !(await isCheckpointFolder(path))) continue;
    // Before it is opened: adapters can name each other.
    if (await isStored(inFolder(path, ADAPTER_CONFIG_FILE))) throw hasAdapters(configPath, path);
    const base = await openWeights(path, { verify: 'model' });
    const architecture = adaptedArchitectures.find((name) => name === base.modelConfig.architecture);
    if (architecture === undefined) {
      throw new UserError(
        `${configPath}: its base ${path} is a ${base.modelConfig.architecture}: Lockstep reads adapters of PEFT only for ${adaptedArchitectures.join(' and ')}. Merge this one with PEFT (merge_and_unload)`,
      );
    }
    if (loraOf(base.modelConfig) === undefined) return { base, architecture };
    throw hasAdapters(configPath, path);
  }
  const which =
    named === undefined ? 'is missing' : `is ${JSON.stringify(named)}, which is not a folder of weights here`;
  throw new UserError(
    `${configPath}: base_model_name_or_path ${which}: set it there to the folder of the model that the adapter was trained for`,
  );
}

function hasAdapters(configPath: string, base: string): UserError {
  return new UserError(`${configPath}: its base ${base} has adapters itself: merge them first (launch merge)`);
}

/** PEFT does not save the names of the classes: they are those of the base, or numbered as in transformers. */
function labelsOfAdapter(
  { isClassifier }: PeftAdapter,
  { modelConfig }: Checkpoint,
  tensors: readonly TensorShape[],
  path: string,
): { labels?: string[] } {
  if (!isClassifier) return {};
  const count = tensors.find(({ name }) => name === 'score.weight')?.shape[0] ?? 0;
  const labels = labelsOf(modelConfig);
  if (count === 0 && labels.length === 0)
    throw new UserError(`${path} lacks tensor score.weight, the head of its classes`);
  if (count === 0 || labels.length === count) return { labels: [...labels] };
  return { labels: Array.from({ length: count }, (_, i) => `LABEL_${i}`) };
}
