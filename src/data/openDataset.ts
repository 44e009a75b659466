import { UserError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import type { DataOptions, Dataset, DatasetOptions } from './dataset.ts';
import { openShardDataset } from './shards/shardDataset.ts';
import { openTextDataset } from './textDataset.ts';

/** Keys of the group `data` of a config are known though nothing here reads them: `config.data` may be given as it is. */
const dataNames = {
  text: true,
  shards: true,
  weights: true,
  tokenizer: true,
  valFraction: true,
  validation: true,
  field: true,
  format: true,
  lineEndings: true,
  cacheGiB: true,
  sampler: true,
  columns: true,
  examples: true,
} satisfies OptionNames<DataOptions & { sampler?: unknown; columns?: unknown; examples?: unknown }>;

const optionNames = {
  blockSize: true,
  validates: true,
  cwd: true,
  vocabSize: true,
  tokenizer: true,
  setting: true,
  onNotice: true,
  onProgress: true,
} satisfies OptionNames<DatasetOptions>;

/**
 * Opens prepared data, or reads, encodes and splits a text.
 * @throws UserError for data that is missing, unreadable, too short, or outside the vocabulary, and for an unknown option
 */
export async function openDataset(data: DataOptions, options: DatasetOptions): Promise<Dataset> {
  checkOptionNames("openDataset's data", data, dataNames);
  checkOptionNames('openDataset', options, optionNames);
  if ([(data as { examples?: string | readonly string[] }).examples ?? []].flat().length > 0) {
    throw new UserError('openDataset opens text and shards, which data.examples replaces: leave examples out');
  }
  const { shards = [] } = data;
  return shards.length > 0 ? openShardDataset({ ...data, shards }, options) : openTextDataset(data, options);
}
