/**
 * The tensors of a checkpoint folder: which file contains each, and where. Checks that they are those of the model, and reads their
 * numbers in chunks.
 */
import { architectureOf, type ModelConfig, networkOf } from '../architecture/registry.ts';
import { isMuonMatrix } from '../architecture/trainable.ts';
import { UserError } from '../base/errors.ts';
import { fromFolder, inFolder } from '../base/objectPath.ts';
import { type StatePart, scalingTensor } from '../base/stateParts.ts';
import { damaged } from '../base/strictJson.ts';
import { isStored, openStored, type StoredFile } from '../objectStore/storedFiles.ts';
import { widenBfloat16, widenFloat16 } from './halfFloats.ts';
import { MODEL_FILE, OPTIMIZER_FILE } from './manifest.ts';
import { type Matched, matchTensors, modelConfigOf } from './modelConfig.ts';
import { readSafetensorsHeader, type SafetensorsEntry } from './safetensors.ts';
import { readShardIndex, SHARD_INDEX_FILE } from './shardIndex.ts';

const STREAM_CHUNK_BYTES = 4 * 2 ** 20;
const WIDEN = { F16: widenFloat16, BF16: widenBfloat16 };
/** A checkpoint without an optimizer's file has only the model. */
export const noMoments = { weights: undefined, m: undefined, v: undefined, scaling: undefined };
const FLOAT_DTYPES = ['F32', 'F16', 'BF16'];

/** A tensor and the file that contains it, in the checkpoint's folder unless its path is absolute. */
export type PlacedTensor = SafetensorsEntry & { readonly file: string };

/** By the name of the parameter. */
export type TensorTable = ReadonlyMap<string, Matched<PlacedTensor>>;

/** The parameters and the model config. Where the tensors contradict config.json, the tensors decide. */
export async function readModelTable(
  folder: string,
  described: ModelConfig,
): Promise<{ modelConfig: ModelConfig; params: TensorTable }> {
  const isOne = await isStored(inFolder(folder, MODEL_FILE));
  const path = inFolder(
    folder,
    isOne || !(await isStored(inFolder(folder, SHARD_INDEX_FILE))) ? MODEL_FILE : SHARD_INDEX_FILE,
  );
  const entries = await (path.endsWith(MODEL_FILE) ? readTensors(folder, MODEL_FILE) : readShards(folder));
  const modelConfig = modelConfigOf(entries, described);
  const params = matchTensors(entries, modelConfig, path);
  checkDtypes(params, folder);
  const { zeros = [] } = architectureOf(modelConfig).huggingFace ?? {};
  for (const entry of entries) if (zeros.includes(entry.name)) await checkZero(entry, folder);
  return { modelConfig, params };
}

/** @throws UserError if a tensor that the model lacks is not 0 */
async function checkZero(entry: PlacedTensor, folder: string): Promise<void> {
  const path = fromFolder(folder, entry.file);
  const handle = await openStored(path);
  try {
    for await (const chunk of readTensor(handle, entry)) {
      const values = new Float32Array(chunk.buffer, chunk.byteOffset, chunk.byteLength / 4);
      if (values.every((value) => value === 0)) continue;
      throw new UserError(
        `${path}: tensor ${entry.name} is not 0, but Lockstep's models have none, so their outputs would differ. Set it to 0 there and fine-tune the weights, or use others.`,
      );
    }
  } finally {
    await handle.close();
  }
}

export function checkDtypes(params: TensorTable, folder: string): void {
  for (const { name, dtype, file } of [...params.values()].flatMap(({ parts }) => parts)) {
    if (FLOAT_DTYPES.includes(dtype)) continue;
    throw new UserError(`${fromFolder(folder, file)}: tensor ${name} is ${dtype}: expected ${FLOAT_DTYPES.join(', ')}`);
  }
}

/** Every tensor of the files listed in the index. Checks that each tensor is in the file that the index says. */
async function readShards(folder: string): Promise<PlacedTensor[]> {
  const index = await readShardIndex(folder);
  const entries: PlacedTensor[] = [];
  for (const file of new Set(index.values())) entries.push(...(await readTensors(folder, file)));
  const found = new Map(entries.map(({ name, file }) => [name, file]));
  const path = inFolder(folder, SHARD_INDEX_FILE);
  for (const [name, file] of index) {
    if (found.get(name) !== file)
      throw damaged(path, `it says that ${file} has tensor ${name}, but that file does not`);
  }
  if (found.size !== entries.length || found.size !== index.size) {
    throw damaged(path, `it lists ${index.size} tensors, but its files have ${entries.length}`);
  }
  return entries;
}

export async function readTensors(folder: string, file: string): Promise<PlacedTensor[]> {
  const { entries } = await readSafetensorsHeader(inFolder(folder, file));
  return entries.map((entry) => ({ ...entry, file }));
}

/**
 * Each trained parameter has `m`, beside an average its weights, and `v` unless Muon updated it: then no matrix in a block has `v`. A frozen
 * one has nothing. All are float32 and have the parameter's shape. The scaling of the loss may follow.
 */
export async function readOptimizerTables(
  folder: string,
  params: TensorTable,
  modelConfig: ModelConfig,
): Promise<Record<Exclude<StatePart, 'model'>, TensorTable | undefined>> {
  const path = inFolder(folder, OPTIMIZER_FILE);
  const entries = await readTensors(folder, OPTIMIZER_FILE);
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  const trained = [...params].filter(([name]) => byName.has(`m.${name}`) || byName.has(`v.${name}`));
  const hasWeights = trained.some(([name]) => byName.has(`weights.${name}`));
  const matrices = new Set(
    networkOf(modelConfig)
      .specs.filter(isMuonMatrix)
      .map((spec) => spec.name),
  );
  const isOfMuon = !trained.some(([name]) => matrices.has(name) && byName.has(`v.${name}`));
  const checkEntry = ({ name, dtype, shape }: PlacedTensor, expected: readonly number[]) => {
    if (dtype === 'F32' && `${shape}` === `${expected}`) return;
    throw damaged(path, `${name} is ${dtype} [${shape}]: expected F32 [${expected}]`);
  };
  const tables = {
    weights: new Map<string, Matched<PlacedTensor>>(),
    m: new Map<string, Matched<PlacedTensor>>(),
    v: new Map<string, Matched<PlacedTensor>>(),
  };
  const scalingEntry = byName.get(`scaling.${scalingTensor.name}`);
  const scaling =
    scalingEntry && new Map([[scalingTensor.name, { shape: scalingTensor.shape, parts: [scalingEntry] }]]);
  if (scalingEntry !== undefined) checkEntry(scalingEntry, scalingTensor.shape);
  let found = scaling === undefined ? 0 : 1;
  for (const part of hasWeights ? (['weights', 'm', 'v'] as const) : (['m', 'v'] as const)) {
    for (const [name, { shape }] of trained) {
      const entry = byName.get(`${part}.${name}`);
      if (entry === undefined) {
        if (part === 'v' && isOfMuon && matrices.has(name)) continue;
        throw damaged(path, `tensor ${part}.${name} is missing`);
      }
      checkEntry(entry, shape);
      tables[part].set(name, { shape, parts: [entry] });
      found += 1;
    }
  }
  if (trained.length === 0 || found !== entries.length) {
    throw damaged(
      path,
      `it has ${entries.length} tensors, of which ${found} belong to the ${trained.length} trained parameters`,
    );
  }
  return { ...tables, weights: hasWeights ? tables.weights : undefined, scaling };
}

/** The numbers of a tensor as float32. */
export async function* readTensor(file: StoredFile, { dtype, begin, end }: SafetensorsEntry) {
  const widen = WIDEN[dtype as keyof typeof WIDEN];
  const step = widen === undefined ? STREAM_CHUNK_BYTES : STREAM_CHUNK_BYTES / 2;
  for (let at = begin; at < end; ) {
    const chunk = new Uint8Array(Math.min(step, end - at));
    await file.read(chunk, at);
    at += chunk.length;
    yield widen === undefined ? chunk : widen(chunk);
  }
}
