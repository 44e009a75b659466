import type { DataOptions, Dataset, DatasetOptions } from './dataset.ts';
import { openShardDataset } from './shards/shardDataset.ts';
import { openTextDataset } from './textDataset.ts';

/**
 * Opens prepared data, or reads, encodes and splits a text.
 * @throws UserError for data that is missing, unreadable, too short, or outside the vocabulary
 */
export async function openDataset(data: DataOptions, options: DatasetOptions): Promise<Dataset> {
  const { shards = [] } = data;
  return shards.length > 0 ? openShardDataset({ ...data, shards }, options) : openTextDataset(data, options);
}
