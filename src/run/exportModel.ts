/**
 * Models with adapters as folders for other programs: merged into ordinary weights (`launch merge`), or the adapters alone (`launch export`).
 * A value head is left out, because only training needs it.
 */
import { type Lora, loraOf, withoutLora } from '../architecture/lora.ts';
import { labelsOf, type ModelConfig, networkOf } from '../architecture/registry.ts';
import { hasValueHead, withoutValueHead } from '../architecture/valueHead.ts';
import { UserError } from '../base/errors.ts';
import { type NewFile, refuseExisting, writeNewFolder } from '../base/newFolder.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { shortPath } from '../base/shortPath.ts';
import { storedPath, userPath } from '../base/userPath.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { isCheckpointFolder } from '../checkpoint/checkpointFolder.ts';
import { CONFIG_FILE, MODEL_FILE } from '../checkpoint/manifest.ts';
import { encodeModelConfig, fileTensorsOf, isOfHuggingFace } from '../checkpoint/modelConfig.ts';
import {
  ADAPTER_CONFIG_FILE,
  ADAPTER_FILE,
  adaptedArchitectures,
  encodeAdapterConfig,
  peftTensors,
} from '../checkpoint/peftAdapter.ts';
import { encodeSafetensorsHeader, type TensorShape } from '../checkpoint/safetensors.ts';
import type { EngineOptions } from '../engine/registry.ts';
import type { Parameters } from '../model/parameterStore.ts';
import { type CheckpointChoice, findCheckpoint } from './findCheckpoint.ts';
import { hasTokenizer, loadParameters, openTokenizer } from './loadModel.ts';

/** Folders are written again: one can be named by those that it names. */
const othersMax = 100;

/**
 * Writes the model with its adapters added to the weights, and without a value head, in Hugging Face's layout. The engine adds them as it does for training and
 * generation, so the folder's model computes the same bits on it.
 * @param out the new folder, relative to `cwd`
 * @returns its path, and a description of the engine
 * @throws UserError for a model with neither, and if `out` exists
 */
export async function mergeModel(
  choice: CheckpointChoice & { readonly engine: EngineOptions },
  out: string,
): Promise<{ readonly path: string; readonly engine: string }> {
  const path = userPath(choice.cwd, out);
  const checkpoint = await findCheckpoint({ ...choice, verify: 'model' });
  if (!hasValueHead(checkpoint.modelConfig)) adaptersOf(checkpoint);
  await refuseExisting(path);
  noteValueHead(checkpoint, choice);
  const tokenizer = hasTokenizer(checkpoint) ? await openTokenizer(checkpoint) : undefined;
  const { engine, parameters } = await loadParameters(checkpoint, choice);
  try {
    await writeNewFolder(path, mergedFiles(checkpoint, parameters, tokenizer?.endOfText));
    return { path, engine: engine.description };
  } finally {
    await engine.dispose();
  }
}

function* mergedFiles(
  { modelConfig, tokenizerFiles }: Checkpoint,
  parameters: Parameters,
  endOfText: number | undefined,
): Generator<NewFile> {
  const config = withoutValueHead(withoutLora(modelConfig));
  const texts = { [CONFIG_FILE]: encodeModelConfig(config, endOfText), ...tokenizerFiles };
  for (const [name, text] of Object.entries(texts)) yield textFile(name, text);
  const { specs } = networkOf(config);
  async function* content() {
    yield encodeSafetensorsHeader(fileTensorsOf(specs, config), { format: 'pt' });
    for (const { name, size } of specs) {
      const values = new Float32Array(size);
      await parameters.readMerged(parameters.indexOf(name), values);
      yield new Uint8Array(values.buffer);
    }
  }
  yield { name: MODEL_FILE, content: content() };
}

/**
 * Writes the adapters, and a head for labels, in PEFT's layout.
 * @param out the new folder, relative to `cwd`
 * @param base the weights to which they belong, which PEFT loads first: a folder, or a published name. Default: `model.from` of the run, or what its adapters were for
 * @returns the new folder's path, and the base that it names
 * @throws UserError for a model without adapters, for one that has also trained other weights, for a base with other weights, and if `out` exists
 */
export async function exportAdapter(
  choice: CheckpointChoice,
  out: string,
  base?: string,
): Promise<{ readonly path: string; readonly base: string }> {
  const path = userPath(choice.cwd, out);
  await refuseExisting(path);
  const checkpoint = await findCheckpoint({ ...choice, verify: 'all' });
  const lora = adaptersOf(checkpoint);
  const { modelConfig } = checkpoint;
  const architecture = adaptedArchitectures.find((name) => name === modelConfig.architecture);
  if (architecture === undefined || !isOfHuggingFace(withoutValueHead(withoutLora(modelConfig)))) {
    throw new UserError(
      `${shortPath(checkpoint.path)} is a ${modelConfig.architecture} that transformers does not have, so PEFT has no base for its adapters: write the complete model with ${ownCommand('merge')}`,
    );
  }
  noteValueHead(checkpoint, choice);
  const valueHead = valueHeadOf(checkpoint.modelConfig);
  const { specs } = networkOf(checkpoint.modelConfig);
  const isClassifier = labelsOf(checkpoint.modelConfig).length > 0;
  const belongs = specs.filter(({ isAdapter, isHead }) => isAdapter || (isHead && isClassifier));
  const own = new Set(belongs.map(({ name }) => name));
  const other = checkpoint.moments.find((name) => !own.has(name) && name !== valueHead);
  if (other !== undefined) {
    throw new UserError(
      `${shortPath(checkpoint.path)} has also trained ${other}, which an adapter cannot hold: write the complete model with ${ownCommand('merge')}`,
    );
  }
  const named = await baseOf(checkpoint, choice, base, own);
  await writeNewFolder(path, [
    textFile(ADAPTER_CONFIG_FILE, encodeAdapterConfig(lora, named, { architecture, isClassifier })),
    { name: ADAPTER_FILE, content: adapterContent(checkpoint, belongs) },
  ]);
  return { path, base: named };
}

async function* adapterContent(checkpoint: Checkpoint, specs: readonly TensorShape[]) {
  const tensors = specs.map((spec) => ({ spec, parts: peftTensors(spec, checkpoint.modelConfig) }));
  yield encodeSafetensorsHeader(
    tensors.flatMap(({ parts }) => parts),
    { format: 'pt' },
  );
  // The parts follow one another, or each of them is the complete tensor.
  const names = tensors.flatMap(({ spec: { name, shape }, parts }) =>
    parts.every((part) => part.shape.join() === shape.join()) ? parts.map(() => name) : [name],
  );
  yield* checkpoint.stream('model', names);
}

/** The base as PEFT is to find it. A folder must have the weights that the adapters were trained for, and none of its own. */
async function baseOf(
  checkpoint: Checkpoint,
  { cwd, onWarning }: CheckpointChoice,
  base: string | undefined,
  own: ReadonlySet<string>,
): Promise<string> {
  const from = base ?? startOf(checkpoint);
  if (from === undefined) {
    throw new UserError(
      `${shortPath(checkpoint.path)} does not name the weights that its adapters were trained for: name their folder with --base`,
    );
  }
  const folder = storedPath(cwd, from);
  const isFolder = (await isCheckpointFolder(folder)) || base === undefined;
  if (!isFolder) return from; // the name of published weights
  let found = await findCheckpoint({ path: from, cwd, onWarning, verify: 'model' });
  // A run can continue the adapters of another run, or those of PEFT. All were trained for the same weights.
  for (let others = 0; loraOf(found.modelConfig) !== undefined; others++) {
    const path = base === undefined && others < othersMax ? startOf(found) : undefined;
    if (path === undefined) {
      throw new UserError(
        `${shortPath(found.path)} has adapters itself, and PEFT loads a base without: name the folder with the weights that they were trained for (--base)`,
      );
    }
    found = await findCheckpoint({ path, cwd, onWarning, verify: 'model' });
  }
  const valueHead = valueHeadOf(checkpoint.modelConfig);
  const shared = checkpoint.tensors.map(({ name }) => name).filter((name) => !own.has(name) && name !== valueHead);
  const has = new Set(found.tensors.map(({ name }) => name));
  for (const name of shared) {
    if (has.has(name) && (await isSameTensor(checkpoint, found, name))) continue;
    throw new UserError(
      `${shortPath(found.path)} is not the base of ${shortPath(checkpoint.path)}: ${name} differs. Name the folder with the weights that the run started with (--base)`,
    );
  }
  return found.path;
}

/** The weights that a run started with, or those that an adapter of PEFT is for. */
function startOf({ base, trainer }: Checkpoint): string | undefined {
  const config = trainer?.config as { model?: { from?: string } } | undefined;
  return base ?? (config?.model?.from || undefined);
}

async function isSameTensor(one: Checkpoint, other: Checkpoint, name: string): Promise<boolean> {
  const [bytes, others] = await Promise.all([one, other].map((each) => bytesOf(each, name)));
  return bytes!.equals(others!);
}

async function bytesOf(checkpoint: Checkpoint, name: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of checkpoint.stream('model', [name])) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The name of the weight of a value head. */
function valueHeadOf(config: ModelConfig): string | undefined {
  return networkOf(config).valueHead?.weight.name;
}

function noteValueHead({ path, modelConfig }: Checkpoint, { onWarning }: CheckpointChoice): void {
  if (hasValueHead(modelConfig)) onWarning(`the value head of ${shortPath(path)} is left out: only training needs it`);
}

function adaptersOf({ modelConfig, path }: Checkpoint): Lora {
  const lora = loraOf(modelConfig);
  if (lora !== undefined) return lora;
  throw new UserError(
    `${shortPath(path)} has no adapters: it is a complete model already (model.loraRank is 0). To publish it, copy its model files: docs/guide/export.md`,
  );
}

function textFile(name: string, text: string): NewFile {
  return { name, content: [new TextEncoder().encode(text)] };
}
