/** `launch eval`: the mean loss of a trained model over a whole split of its own data, or of another text. */
import { resolve } from 'node:path';
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { type DataOptions, type Dataset, openDataset } from '../data/dataset.ts';
import { valBatches, valWindowCount } from '../data/sampler.ts';
import { isPreparedFolder } from '../data/shards/shardManifest.ts';
import { targetBytes } from '../data/textBytes.ts';
import type { TokenSequence } from '../data/tokenArray.ts';
import type { Tokenizer } from '../data/tokenizer.ts';
import type { ModelConfig } from '../model/config.ts';
import { Tape } from '../model/tape.ts';
import { type LoadedModel, loadModel } from './loadModel.ts';
import { engineOptionsOf, type ModelArguments, withModelOptions } from './modelOptions.ts';
import { statusLine } from './statusLine.ts';

const splits = ['val', 'train', 'all'] as const;

interface EvaluateArguments extends ModelArguments {
  readonly data: string | undefined;
  readonly split: (typeof splits)[number];
  readonly json: boolean;
}

/** The sum of the losses of every token of a text but the first, each in nats. */
export interface LossSum {
  readonly sum: number;
  readonly tokens: number;
}

/** Bounds on one batch: rows, and numbers of activations. */
const BATCH_ROWS_MAX = 8192;
const BATCH_ACTIVATIONS_MAX = 2 ** 28;

export const evaluateCommand: CommandModule<object, EvaluateArguments> = {
  command: 'eval',
  describe: 'Mean loss and perplexity over a whole split',
  builder: (yargs: Argv<object>) =>
    withModelOptions(yargs)
      .option('data', {
        type: 'string',
        requiresArg: true,
        describe:
          "Text: a file, folder or glob, builtin, or a folder that `launch prepare` made [default: the run's own]",
      })
      .option('split', {
        choices: splits,
        default: 'val' as const,
        describe: 'Which part of the text, divided as in the run; all for a text that was held out as a whole',
      })
      .option('json', { type: 'boolean', default: false, describe: 'One JSON object on standard output' })
      .example('$0 eval --checkpoint runs/shakespeare-char', 'over the validation split of the run')
      .example('$0 eval --checkpoint gpt2/ --data book.txt --split all', 'published weights on a whole text'),
  handler: run,
};

async function run(args: ArgumentsCamelCase<EvaluateArguments>): Promise<void> {
  const warn = (message: string): void => void process.stderr.write(`warning: ${message}\n`);
  const cwd = process.cwd();
  const { checkpoint: path, data: text } = args;
  const loaded = await loadModel({ path, cwd, engine: engineOptionsOf(args), onWarning: warn });
  try {
    process.stderr.write(`${loaded.description}\n`);
    const dataset = await openData(loaded, text, cwd);
    const isOwnData = compareData(loaded, dataset, text, warn);
    const result = await evaluateDataset(loaded, dataset, args.split);
    process.stdout.write(
      args.json ? `${toJson(loaded, dataset, isOwnData, args.split, result)}\n` : toText(dataset, args.split, result),
    );
  } finally {
    await loaded.engine.dispose();
  }
}

/** The run's data, tokenized with the checkpoint's own tokenizer; `text` replaces its `data.text`. */
async function openData(loaded: LoadedModel, text: string | undefined, cwd: string): Promise<Dataset> {
  const { runConfig, tokenizer, model } = loaded;
  const source = text ?? runConfig?.data.text;
  if (source === undefined) {
    throw new UserError(`${loaded.checkpoint.path} says no data that it was trained on: give a text with --data`);
  }
  const valFraction = runConfig?.data.valFraction ?? 0.1;
  const isShards = text !== undefined && (await isPreparedFolder(resolve(cwd, text)));
  const shards = text === undefined ? (runConfig?.data.shards ?? []) : isShards ? text : [];
  const weights = text === undefined ? (runConfig?.data.weights ?? []) : [];
  const data: DataOptions = {
    text: source,
    shards,
    weights,
    tokenizer: tokenizer.kind,
    valFraction,
  };
  const { blockSize, vocabSize } = model.config;
  const setting = text === undefined ? 'data.text' : '--data';
  const onProgress = statusLine('encoding the text');
  return openDataset(data, { blockSize, vocabSize, cwd, tokenizer, setting, onProgress });
}

/** Whether the tokens are those that the run trained on; undefined where that is not known. Warns if its own text changed. */
function compareData(
  { checkpoint }: LoadedModel,
  { sha256 }: Dataset,
  text: string | undefined,
  warn: (message: string) => void,
): boolean | undefined {
  if (checkpoint.trainer === undefined) return undefined;
  const isSame = checkpoint.trainer.data.sha256 === sha256;
  if (!isSame && text === undefined) {
    warn('the text has changed since the checkpoint was written: parts of this split may have been trained on');
  }
  return isSame;
}

interface Evaluation extends LossSum {
  /** UTF-8 bytes of the tokens that were predicted. */
  readonly bytes: number;
}

async function evaluateDataset(
  loaded: LoadedModel,
  dataset: Dataset,
  split: (typeof splits)[number],
): Promise<Evaluation> {
  const parts: TokenSequence[] = { val: [dataset.val], train: [dataset.train], all: [dataset.train, dataset.val] }[
    split
  ];
  const total = parts.reduce((count, part) => count + part.length, 0);
  const progress = statusLine('evaluating');
  const result = { sum: 0, tokens: 0, bytes: 0 };
  for (const part of parts) {
    const before = result.tokens;
    const { sum, tokens } = await lossOver(loaded, part, (done) => progress((before + done * part.length) / total));
    result.sum += sum;
    result.tokens += tokens;
    result.bytes += byteLength(loaded.tokenizer, part);
  }
  return result;
}

/**
 * The loss over all of `tokens`, in windows of blockSize that neither overlap nor leave anything out.
 * @param onProgress called after each batch with the share that is done
 */
export async function lossOver(
  { engine, model }: Pick<LoadedModel, 'engine' | 'model'>,
  tokens: TokenSequence,
  onProgress: (done: number) => void = () => undefined,
): Promise<LossSum> {
  const { blockSize } = model.config;
  const rowsMax = Math.min(BATCH_ROWS_MAX, BATCH_ACTIVATIONS_MAX / activationsOfRow(model.config));
  const batchSize = Math.max(1, Math.floor(rowsMax / blockSize));
  const windows = valWindowCount(tokens.length, blockSize);
  const tape = new Tape(engine);
  const result = { sum: 0, tokens: 0 };
  let done = 0;
  for (const batch of valBatches(tokens, { blockSize, batchSize })) {
    const inputs = tape.upload(batch.tokens, [batch.batchSize, blockSize]);
    const targets = tape.upload(batch.targets, [batch.batchSize * blockSize]);
    const losses = model.losses(tape, inputs, targets);
    const values = new Float32Array(losses.size);
    await engine.download(losses, values); // 0 where the target is -1
    tape.discard();
    for (const loss of values) result.sum += loss;
    result.tokens += batch.targetCount;
    done += batch.batchSize;
    onProgress(done / windows);
  }
  return result;
}

/**
 * Numbers that a row takes at once: each block's input, the activations of one block, and its attention weights twice, which tfjs
 * writes out. The head's logits come in chunks that do not grow with the batch.
 */
function activationsOfRow({ nLayer, nEmbd, nHead, blockSize }: ModelConfig): number {
  return (nLayer + 16) * nEmbd + 2 * nHead * blockSize;
}

function byteLength(tokenizer: Tokenizer, tokens: TokenSequence): number {
  const steps = targetBytes(tokenizer, tokens);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

function measures({ sum, tokens, bytes }: Evaluation) {
  const loss = sum / tokens;
  return { loss, perplexity: Math.exp(loss), bitsPerByte: sum / Math.LN2 / bytes, tokens, bytes };
}

function toText({ description }: Dataset, split: string, evaluation: Evaluation): string {
  const { loss, perplexity, bitsPerByte, tokens } = measures(evaluation);
  return (
    `${description}\n` +
    `${split} loss ${loss.toFixed(4)}, perplexity ${perplexity.toPrecision(5)}, ${bitsPerByte.toFixed(4)} bits per byte, ` +
    `over ${tokens.toLocaleString('en-US')} tokens\n`
  );
}

function toJson(
  { checkpoint, engine }: LoadedModel,
  { description, sha256 }: Dataset,
  isOwnData: boolean | undefined,
  split: string,
  evaluation: Evaluation,
): string {
  return JSON.stringify({
    checkpoint: checkpoint.path,
    step: checkpoint.trainer?.step ?? null,
    engine: engine.description,
    data: { description, sha256, sameAsTrained: isOwnData ?? null },
    split,
    ...measures(evaluation),
  });
}
