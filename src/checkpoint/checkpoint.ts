/**
 * Opens and reads one checkpoint folder: one written by Lockstep (with `manifest.json`: every size and sha256 is verified before
 * anything is used) or a folder in Hugging Face's layout (`config.json`, `model.safetensors` or its shards, tokenizer files:
 * only the structure is verified, because it has no hashes). Tensors are streamed; no tensor is ever held in memory as a unit.
 */
import { resolve } from 'node:path';
import { loraOf } from '../architecture/lora.ts';
import { architectureOf, labelsOf, type ModelConfig, modelKeys, networkOf } from '../architecture/registry.ts';
import { isMuonMatrix } from '../architecture/trainable.ts';
import { InvariantError, UserError } from '../base/errors.ts';
import { encodeScaling, initialScaling } from '../base/lossScaling.ts';
import { fromFolder, inFolder, isObjectPath } from '../base/objectPath.ts';
import { isTrainedTensor, type StatePart, type StateTensor, scalingTensor } from '../base/stateParts.ts';
import { damaged, parseJsonObject } from '../base/strictJson.ts';
import { isStored, openStored, readStored, type StoredFile } from '../objectStore/storedFiles.ts';
import { verifyFiles } from './fileIntegrity.ts';
import { widenBfloat16, widenFloat16 } from './halfFloats.ts';
import {
  CONFIG_FILE,
  MANIFEST_FILE,
  MODEL_FILE,
  OPTIMIZER_FILE,
  readManifest,
  readTrainer,
  SMALL_FILE_BYTES_MAX,
  TRAINER_FILE,
  type TrainerState,
  tokenizerFileNames,
} from './manifest.ts';
import { decodeModelConfig, fixedTable, type Matched, matchTensors, modelConfigOf } from './modelConfig.ts';
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
import { readSafetensorsHeader, type SafetensorsEntry, type TensorShape } from './safetensors.ts';
import { readShardIndex, SHARD_INDEX_FILE } from './shardIndex.ts';

export interface OpenOptions {
  /**
   * `model`: only what generation and evaluation need. The optimizer's file (twice the model's size) is not read; it and
   * `trainer.json` may be missing. Default `all`.
   */
  readonly verify?: 'all' | 'model';
}

const CONFIG_BYTES_MAX = 2 ** 20;
const STREAM_CHUNK_BYTES = 4 * 2 ** 20;

/** The tokenizer files that Hugging Face's folders may contain; those present are read. */
const HF_TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.json',
  'merges.txt',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'generation_config.json',
];

/** The pieces of a source, in folders of MarianMT. */
const SENTENCEPIECE_FILE = 'source.spm';

/** A tensor and the file that contains it, in the checkpoint's folder unless its path is absolute. */
type PlacedTensor = SafetensorsEntry & { readonly file: string };

/** By the name of the parameter. */
type TensorTable = ReadonlyMap<string, Matched<PlacedTensor>>;

/** A verified checkpoint. It holds tables and small files in memory; the tensors stay on disk. */
export class Checkpoint {
  readonly path: string;
  readonly modelConfig: ModelConfig;
  /** Number of updates applied so far; undefined for a folder that Lockstep did not write. */
  readonly step: number | undefined;
  /** Undefined for a folder that Lockstep did not write, and when only the model was requested and `trainer.json` is missing. */
  readonly trainer: TrainerState | undefined;
  readonly tokenizerFiles: Readonly<Record<string, string>>;
  /** The parameters under Lockstep's names, in file order. */
  readonly tensors: readonly TensorShape[];
  /** Why it cannot be trained further, as a sentence; undefined if it can. */
  readonly trainingProblem: string | undefined;
  /** The folder of the base of an adapter of PEFT; otherwise undefined. */
  readonly base: string | undefined;
  /** A file of its tokenizer that Lockstep does not read, in a folder that has no other. */
  readonly unreadTokenizer: string | undefined;
  readonly #tables: Readonly<Record<StatePart, TensorTable | undefined>>;

  /** @internal use {@link openCheckpoint} */
  constructor(fields: {
    path: string;
    step: number | undefined;
    modelConfig: ModelConfig;
    trainer: TrainerState | undefined;
    tokenizerFiles: Record<string, string>;
    tables: Record<StatePart, TensorTable | undefined>;
    trainingProblem?: string | undefined;
    base?: string;
    unreadTokenizer?: string | undefined;
  }) {
    this.path = fields.path;
    this.step = fields.step;
    this.modelConfig = fields.modelConfig;
    this.trainer = fields.trainer;
    this.tokenizerFiles = fields.tokenizerFiles;
    this.#tables = fields.tables;
    this.trainingProblem = fields.trainingProblem;
    this.base = fields.base;
    this.unreadTokenizer = fields.unreadTokenizer;
    this.tensors = [...(fields.tables.model ?? [])].map(([name, { shape }]) => ({ name, shape }));
  }

  /** Names of the parameters whose `m` can be streamed: those that were trained. Empty without optimizer state. */
  get moments(): readonly string[] {
    return [...(this.#tables.m?.keys() ?? [])];
  }

  /** Whether `v` of a parameter can be streamed: AdamW updated it. */
  hasSecondMoment(name: string): boolean {
    return this.#tables.v?.has(name) ?? false;
  }

  /** Whether it has exactly the moments of all trained `tensors`, so that their training can resume exactly. */
  hasMomentsOf(tensors: readonly Pick<StateTensor, 'name' | 'parts'>[]): boolean {
    return tensors
      .filter(isTrainedTensor)
      .every(
        ({ name, parts }) => this.#tables.m?.has(name) === true && this.hasSecondMoment(name) === parts.includes('v'),
      );
  }

  /**
   * Float32 little-endian bytes of the named tensors: the model's (`model`: the average, if the run has one), the weights with which
   * training continues (`weights`, the same without an average), or moments. Dense, in the given order, in chunks of at most 4 MiB that may end
   * inside a tensor but never inside a number. Float16 and bfloat16 weights are widened.
   * @throws UserError when the file has changed since it was verified
   */
  async *stream(part: StatePart, inOrder: readonly string[]): AsyncGenerator<Uint8Array, void, undefined> {
    const table = part === 'weights' ? this.#weights : this.#tables[part];
    if (table === undefined && part === 'scaling') {
      // The run had none: it begins now.
      if (inOrder.length > 0) yield new Uint8Array(encodeScaling(initialScaling).buffer);
      return;
    }
    if (table === undefined) throw new UserError(`${this.path} has no optimizer state: a run cannot resume from it`);
    const handles = new Map<string, StoredFile>();
    try {
      for (const name of inOrder) {
        const entry = table.get(name);
        if (entry === undefined) throw new InvariantError(`${this.path} has no tensor ${name} for part ${part}`);
        if (entry.parts.length === 0) yield new Uint8Array(fixedTable(entry.shape).buffer);
        for (const each of entry.parts) {
          const path = fromFolder(this.path, each.file);
          const handle = handles.get(path) ?? (await openStored(path));
          handles.set(path, handle);
          yield* readTensor(handle, each);
        }
      }
    } finally {
      for (const handle of handles.values()) await handle.close();
    }
  }

  /** Weights of frozen parameters, and all of a run without an average, are in the model file. */
  get #weights(): TensorTable {
    return new Map([...(this.#tables.model ?? []), ...(this.#tables.weights ?? [])]);
  }

  /** @internal The parameters and their absolute files. */
  get placedTensors(): TensorTable {
    const params = [...(this.#tables.model ?? [])];
    const placed = (each: PlacedTensor) => ({ ...each, file: fromFolder(this.path, each.file) });
    return new Map(params.map(([name, { shape, parts }]) => [name, { shape, parts: parts.map(placed) }]));
  }

  /** The files that hold the parameters, absolute. */
  get weightFiles(): readonly string[] {
    const parts = [...(this.#tables.model?.values() ?? [])].flatMap((each) => each.parts);
    const names = new Set(parts.map(({ file }) => file));
    return [...names].sort().map((name) => fromFolder(this.path, name));
  }
}

/** The numbers of a tensor as float32. */
async function* readTensor(file: StoredFile, { dtype, begin, end }: SafetensorsEntry) {
  const widen = WIDEN[dtype as keyof typeof WIDEN];
  const step = widen === undefined ? STREAM_CHUNK_BYTES : STREAM_CHUNK_BYTES / 2;
  for (let at = begin; at < end; ) {
    const chunk = new Uint8Array(Math.min(step, end - at));
    await file.read(chunk, at);
    at += chunk.length;
    yield widen === undefined ? chunk : widen(chunk);
  }
}

const WIDEN = { F16: widenFloat16, BF16: widenBfloat16 };
/** PyTorch's older formats. */
const PICKLED_FILES = ['pytorch_model.bin', 'pytorch_model.bin.index.json'];
const noMoments = { weights: undefined, m: undefined, v: undefined, scaling: undefined };
const FLOAT_DTYPES = ['F32', 'F16', 'BF16'];

/**
 * Opens and verifies a checkpoint folder.
 * @throws UserError naming the file and the problem: missing, damaged, another format version, another architecture
 */
export async function openCheckpoint(path: string, options: OpenOptions = {}): Promise<Checkpoint> {
  const isOurs = await isStored(inFolder(path, MANIFEST_FILE));
  if (isOurs) return openOurs(path, options.verify ?? 'all');
  for (const name of [TRAINER_FILE, OPTIMIZER_FILE]) {
    if (await isStored(inFolder(path, name))) {
      throw damaged(path, `${MANIFEST_FILE} is missing (it has ${name}, so a Lockstep run wrote it)`);
    }
  }
  return (await isStored(inFolder(path, ADAPTER_CONFIG_FILE))) ? openAdapter(path) : openHuggingFace(path);
}

/** Whether `path` looks like a checkpoint folder of either kind, damaged or not. */
export async function isCheckpointFolder(path: string): Promise<boolean> {
  for (const name of [MANIFEST_FILE, TRAINER_FILE, CONFIG_FILE, MODEL_FILE, ADAPTER_CONFIG_FILE]) {
    if (await isStored(inFolder(path, name))) return true;
  }
  return false;
}

async function openOurs(path: string, verify: 'all' | 'model'): Promise<Checkpoint> {
  const manifest = await readManifest(path);
  await verifyFiles(path, manifest, verify);
  const needsTrainer = verify === 'all' || (await isStored(inFolder(path, TRAINER_FILE)));
  const trainer = needsTrainer ? await readTrainer(path) : undefined;
  if (trainer !== undefined && trainer.step !== manifest.step) {
    throw damaged(path, `${MANIFEST_FILE} says step ${manifest.step}, ${TRAINER_FILE} says step ${trainer.step}`);
  }
  const described = await readModelConfig(path);
  const tokenizerFiles = await readTexts(path, tokenizerFileNames(manifest));
  const { modelConfig, params } = await readModelTable(path, described);
  const others = verify === 'all' ? await readOptimizerTables(path, params, modelConfig) : noMoments;
  const { step } = manifest;
  return new Checkpoint({ path, step, modelConfig, trainer, tokenizerFiles, tables: { model: params, ...others } });
}

async function openHuggingFace(path: string): Promise<Checkpoint> {
  if (!(await isStored(inFolder(path, CONFIG_FILE)))) {
    throw new UserError(`${path} is not a checkpoint: it has neither ${MANIFEST_FILE} nor ${CONFIG_FILE}`);
  }
  const described = await readModelConfig(path);
  const isSafe = (await isStored(inFolder(path, MODEL_FILE))) || (await isStored(inFolder(path, SHARD_INDEX_FILE)));
  for (const other of PICKLED_FILES) {
    if (isSafe || !(await isStored(inFolder(path, other)))) continue;
    throw new UserError(
      `${path} has ${other}, which can run code when it is loaded, instead of ${MODEL_FILE}. ` +
        'Load the folder with transformers and save it again with save_pretrained.',
    );
  }
  const { modelConfig, params } = await readModelTable(path, described);
  const present: string[] = [];
  for (const name of HF_TOKENIZER_FILES) if (await isStored(inFolder(path, name))) present.push(name);
  const tokenizerFiles = await readTexts(path, present);
  const hasUnread = !present.includes('tokenizer.json') && (await isStored(inFolder(path, SENTENCEPIECE_FILE)));
  return new Checkpoint({
    path,
    step: undefined,
    modelConfig,
    trainer: undefined,
    tokenizerFiles,
    tables: { model: params, ...noMoments },
    unreadTokenizer: hasUnread ? SENTENCEPIECE_FILE : undefined,
  });
}

/** An adapter of PEFT, with the weights of its base. */
async function openAdapter(path: string): Promise<Checkpoint> {
  const configPath = inFolder(path, ADAPTER_CONFIG_FILE);
  const json = parseJsonObject(await readStored(configPath, CONFIG_BYTES_MAX), configPath);
  const { base, architecture } = await openBase(baseOfAdapter(json, configPath), path);
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
): Promise<{ base: Checkpoint; architecture: (typeof adaptedArchitectures)[number] }> {
  const configPath = inFolder(adapterPath, ADAPTER_CONFIG_FILE);
  // A downloaded adapter does not choose what is fetched with the keys of the user.
  const isPlace = named !== undefined && !isObjectPath(named);
  for (const path of isPlace ? [fromFolder(adapterPath, named), resolve(named)] : []) {
    if (path === adapterPath || !(await isCheckpointFolder(path))) continue;
    // Before it is opened: adapters can name each other.
    if (await isStored(inFolder(path, ADAPTER_CONFIG_FILE))) throw hasAdapters(configPath, path);
    const base = await openCheckpoint(path, { verify: 'model' });
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

async function readModelConfig(folder: string): Promise<ModelConfig> {
  const path = inFolder(folder, CONFIG_FILE);
  return decodeModelConfig(parseJsonObject(await readStored(path, CONFIG_BYTES_MAX), path), path);
}

/** The parameters and the model config. Where the tensors contradict config.json, the tensors decide. */
async function readModelTable(
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

function checkDtypes(params: TensorTable, folder: string): void {
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

async function readTensors(folder: string, file: string): Promise<PlacedTensor[]> {
  const { entries } = await readSafetensorsHeader(inFolder(folder, file));
  return entries.map((entry) => ({ ...entry, file }));
}

/**
 * Each trained parameter has `m`, beside an average its weights, and `v` unless Muon updated it: then no matrix in a block has `v`. A frozen
 * one has nothing. All are float32 and have the parameter's shape. The scaling of the loss may follow.
 */
async function readOptimizerTables(
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

async function readTexts(folder: string, names: readonly string[]): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const name of names) {
    const path = inFolder(folder, name);
    const bytes = await readStored(path, SMALL_FILE_BYTES_MAX);
    try {
      texts[name] = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw damaged(path, 'it is not valid UTF-8 text');
    }
  }
  return texts;
}
