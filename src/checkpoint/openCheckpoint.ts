/**
 * Opens and verifies a checkpoint folder: one that Lockstep wrote (with `manifest.json`: every size and sha256 is verified before anything
 * is used), or one in Hugging Face's layout (`config.json`, `model.safetensors` or its shards, tokenizer files), of which only the
 * structure is verified, because it has no hashes.
 */
import type { ModelConfig } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { inFolder } from '../base/objectPath.ts';
import { damaged, parseJsonObject } from '../base/strictJson.ts';
import { isStored, readStored } from '../objectStore/storedFiles.ts';
import { Checkpoint } from './checkpoint.ts';
import { verifyFiles } from './fileIntegrity.ts';
import {
  CONFIG_BYTES_MAX,
  CONFIG_FILE,
  MANIFEST_FILE,
  MODEL_FILE,
  OPTIMIZER_FILE,
  readManifest,
  readTrainer,
  SMALL_FILE_BYTES_MAX,
  TRAINER_FILE,
  tokenizerFileNames,
} from './manifest.ts';
import { decodeModelConfig } from './modelConfig.ts';
import { openAdapter } from './openAdapter.ts';
import { ADAPTER_CONFIG_FILE } from './peftAdapter.ts';
import { SHARD_INDEX_FILE } from './shardIndex.ts';
import { noMoments, readModelTable, readOptimizerTables } from './tensorTables.ts';

export interface OpenOptions {
  /**
   * `model`: only what generation and evaluation need. The optimizer's file (twice the model's size) is not read; it and
   * `trainer.json` may be missing. Default `all`.
   */
  readonly verify?: 'all' | 'model';
}

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

/** PyTorch's older formats. */
const PICKLED_FILES = ['pytorch_model.bin', 'pytorch_model.bin.index.json'];

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
  return (await isStored(inFolder(path, ADAPTER_CONFIG_FILE)))
    ? openAdapter(path, openCheckpoint)
    : openHuggingFace(path);
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

async function readModelConfig(folder: string): Promise<ModelConfig> {
  const path = inFolder(folder, CONFIG_FILE);
  return decodeModelConfig(parseJsonObject(await readStored(path, CONFIG_BYTES_MAX), path), path);
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
