/** Opens the data of a run: text, shards or examples. */
import { beginTokenOf } from '../architecture/registry.ts';
import type { Config } from '../config/configTypes.ts';
import { builtinRows } from '../data/examples/builtinRows.ts';
import { exampleRunData } from '../data/examples/exampleRunData.ts';
import { openExamples } from '../data/examples/exampleSet.ts';
import { exampleTask, promptTask } from '../data/examples/exampleTask.ts';
import { packExamples } from '../data/examples/packExamples.ts';
import { promptData } from '../data/examples/promptData.ts';
import { openDataset } from '../data/openDataset.ts';
import type { RunData } from '../data/runData.ts';
import { textRunData } from '../data/textRunData.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { isPolicyKind, type PolicyKind } from '../task/kinds.ts';
import type { RunMessages } from './messages.ts';

export interface OpenRunDataOptions {
  readonly cwd: string;
  /** That of the initial weights or of the checkpoint to resume from. Absent: a new one of the config's kind. */
  readonly tokenizer: Tokenizer | undefined;
  readonly messages: RunMessages;
}

/** @throws UserError for data that is missing or cannot be trained on with this config */
export async function openRunData(config: Config, options: OpenRunDataOptions): Promise<RunData> {
  return config.data.examples.length > 0 ? await openRows(config, options) : await openText(config, options);
}

async function openText(
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

async function openRows(config: Config, { cwd, tokenizer, messages }: OpenRunDataOptions): Promise<RunData> {
  const { data, model, task, train } = config;
  if (isPolicyKind(task.kind)) return await openPrompts(config, task.kind, { cwd, tokenizer, messages });
  const labels = 'labels' in model ? model.labels : [];
  const set = await openExamples({
    data,
    kind: task.kind,
    builtinPath: builtinRows(task.kind),
    aligned: task.kind === 'seq2seq',
    tooLong: task.tooLong,
    equalPairs: task.equalPairs,
    seed: train.seed,
    blockSize: model.blockSize,
    canLengthen: model.from === '',
    validates: config.eval.everySteps > 0,
    cwd,
    taskFor: (rows) =>
      exampleTask(rows, {
        ...task,
        labels,
        beginToken: beginTokenOf(model),
        tokenizerKind: data.tokenizer,
        tokenizer,
        cwd,
      }),
    onNotice: messages.note,
    onWarning: messages.warn,
    onProgress: messages.progress('encoding the examples'),
  });
  return exampleRunData(task.pack ? packExamples(set, model.blockSize) : set, model.vocabSize);
}

async function openPrompts(
  { data, model, task }: Config,
  kind: PolicyKind,
  { cwd, tokenizer, messages }: OpenRunDataOptions,
): Promise<RunData> {
  const { blockSize, vocabSize } = model;
  return await promptData({
    ...task,
    kind,
    data,
    blockSize,
    vocabSize,
    hasWeights: model.from !== '',
    cwd,
    readerFor: (rows) => promptTask(rows, { ...task, kind, labels: [], tokenizerKind: data.tokenizer, tokenizer, cwd }),
    onNotice: messages.note,
  });
}
