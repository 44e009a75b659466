/** Opens the data of a run: text or shards. */
import type { Config } from '../config/configTypes.ts';
import { openDataset } from '../data/openDataset.ts';
import type { RunData } from '../data/runData.ts';
import { textRunData } from '../data/textRunData.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import type { RunMessages } from './messages.ts';

export interface OpenRunDataOptions {
  readonly cwd: string;
  /** That of the initial weights or of the checkpoint to resume from. Absent: a new one of the config's kind. */
  readonly tokenizer: Tokenizer | undefined;
  readonly messages: RunMessages;
}

/** @throws UserError for data that is missing or cannot be trained on with this config */
export async function openRunData(
  { data, model, eval: evaluation }: Config,
  { cwd, tokenizer, messages }: OpenRunDataOptions,
): Promise<RunData> {
  const dataset = await openDataset(data, {
    blockSize: model.blockSize,
    vocabSize: model.vocabSize,
    ...(tokenizer && { tokenizer }),
    cwd,
    validates: evaluation.everySteps > 0,
    onNotice: messages.note,
    onProgress: messages.progress('encoding the text'),
  });
  return textRunData(dataset, model.blockSize);
}
