/**
 * `launch inspect`: the contents of a folder of prepared data, and whether it is complete; or the rows of a file, as a task reads them
 * (inspectRows.ts).
 */
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { isObjectPath } from '../base/objectPath.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { storedPath } from '../base/userPath.ts';
import { isFile } from '../base/wholeFiles.ts';
import { windowStart } from '../data/sampleOrder.ts';
import { tokenizerOf } from '../data/shards/shardDataset.ts';
import { readShardManifest, type ShardManifest } from '../data/shards/shardManifest.ts';
import { ShardFiles } from '../data/shards/shardSequence.ts';
import { type Survey, survey } from '../data/shards/survey.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { taskKinds } from '../task/kinds.ts';
import { columnNames, columnsOption, rowFormatOption, targetsOption } from './columns.ts';
import { numberOption } from './options.ts';
import { statusLine } from './terminal.ts';

const barCells = 40;
const tokensShown = 10;
const sampleTokens = 48;

const inspectOptions = {
  samples: { type: 'number', requiresArg: true, default: 3, describe: 'Decoded samples to show' },
  seed: { type: 'number', requiresArg: true, default: 1337, describe: 'Seed that selects the samples' },
  tokenizer: {
    type: 'string',
    requiresArg: true,
    describe:
      'For rows: char, byte, gpt2, cl100k, o200k, bpe:N, or a run, checkpoint or folder with a tokenizer.json [default: gpt2]',
  },
  task: {
    choices: taskKinds,
    requiresArg: true,
    describe: 'For rows: what is learned from them, as task.kind [default: by the keys of the first row]',
  },
  targets: targetsOption,
  template: {
    type: 'string',
    requiresArg: true,
    describe: 'For rows: chat template, as task.template [default: auto]',
  },
  columns: columnsOption,
  format: rowFormatOption,
  json: { type: 'boolean', default: false, describe: 'Print one JSON object' },
} as const satisfies Record<string, Options>;

type InspectArguments = InferredOptionTypes<typeof inspectOptions> & { readonly path: string };

export const inspectCommand: CommandModule<object, InspectArguments> = {
  builder: (yargs) =>
    yargs
      .positional('path', {
        type: 'string',
        demandOption: true,
        describe: 'Folder or s3:// prefix written by prepare, or a file of rows: JSONL, JSON, CSV, TSV, Parquet',
      })
      .options(inspectOptions)
      .example('$0 inspect data/corpus', 'counts, histograms and three samples')
      .example('$0 inspect data/corpus --samples 20 --seed 1', '20 other samples')
      .example('$0 inspect rows.jsonl --tokenizer gpt2', 'which tokens of conversations are targets')
      .example(
        '$0 inspect rows.jsonl --tokenizer runs/base --task sft --template chatml --samples 10',
        'with the tokenizer of a run',
      )
      .example(
        '$0 inspect train.en --targets train.es --tokenizer bpe:8000',
        'sources and targets of two aligned files',
      )
      .example('$0 inspect spam.tsv --columns label,text --json', 'labels and their counts, as JSON') as never,
  handler: run,
};

interface Sample {
  readonly split: string;
  /** Position of the first token in its split. */
  readonly at: number;
  readonly text: string;
}

async function run(args: ArgumentsCamelCase<InspectArguments>): Promise<void> {
  numberOption('samples', args.samples, { min: 0, max: 10_000, whole: true });
  numberOption('seed', args.seed, { min: 0, max: 2 ** 32 - 1, whole: true });
  const folder = storedPath(process.cwd(), args.path);
  if (!isObjectPath(folder) && (await isFile(folder))) return ofRows(args);
  const foreign = (['tokenizer', 'task', 'targets', 'template', 'columns', 'format'] as const).find(
    (name) => args[name] !== undefined,
  );
  if (foreign !== undefined) {
    throw new UserError(
      `--${foreign}: expected a file of rows, received ${args.path}; omit this option for prepared data`,
    );
  }
  const manifest = await readShardManifest(folder, ownCommand('inspect'));
  const tokenizer = await tokenizerOf(folder, manifest);
  const found = await survey(folder, manifest, statusLine('reading the shards'));
  const samples = await samplesOf(folder, manifest, { tokenizer, count: args.samples, seed: args.seed });
  process.stdout.write(
    args.json ? `${toJson(manifest, found, samples)}\n` : toText(args.path, { manifest, found, samples, tokenizer }),
  );
}

async function ofRows(args: ArgumentsCamelCase<InspectArguments>): Promise<void> {
  const { path, targets, tokenizer = 'gpt2', task, template = 'auto', format, samples, seed, json } = args;
  const paths = targets === undefined ? [path] : [path, targets];
  const columns = columnNames(args.columns) ?? [];
  const { inspectRows } = await import('./inspectRows.ts');
  await inspectRows({ paths, tokenizer, task, template, columns, format, samples, seed, json }, process.cwd());
}

interface SampleOptions {
  readonly tokenizer: Tokenizer;
  readonly count: number;
  readonly seed: number;
}

/** From the training split, or from the validation split if that is the only one. */
async function samplesOf(
  folder: string,
  manifest: ShardManifest,
  { tokenizer, count, seed }: SampleOptions,
): Promise<Sample[]> {
  const files = await ShardFiles.openOnce(folder, manifest);
  try {
    const { train, val } = manifest.splits;
    const [split, tokens] = train.length > 0 ? ['train', files.split(train)] : ['val', files.split(val)];
    const blockSize = Math.min(sampleTokens, tokens.length - 1);
    if (blockSize < 1) return [];
    const samples: Sample[] = [];
    for (let index = 0; index < count; index++) {
      const at = windowStart({ seed, step: 0, index, tokens: tokens.length, blockSize });
      samples.push({ split, at, text: tokenizer.decode(await tokens.read(at, at + blockSize)) });
    }
    return samples;
  } finally {
    files.close();
  }
}

interface Report {
  readonly manifest: ShardManifest;
  readonly found: Survey;
  readonly samples: readonly Sample[];
  readonly tokenizer: Tokenizer;
}

function toText(name: string, { manifest, found, samples, tokenizer }: Report): string {
  const { documents, textBytes, skipped, shards, tokenBytes } = manifest;
  const { train, val, total } = sizesOf(manifest);
  const used = found.tokenCounts.filter((count) => count > 0).length;
  const lines = [
    `${name}: ${manifest.tokenizer.kind} tokenizer, ${grouped(manifest.tokenizer.vocabSize)} tokens in the vocabulary, ${grouped(used)} of them used`,
    `documents    ${grouped(documents)}${skipped > 0 ? `, ${grouped(skipped)} skipped` : ''}`,
    `text         ${grouped(textBytes)} bytes, ${(textBytes / total).toFixed(2)} per token`,
    `tokens       ${grouped(total)}: ${grouped(train)} to train on, ${grouped(val)} to validate`,
    `shards       ${grouped(shards.length)} of ${8 * tokenBytes}-bit tokens; sizes and sha256 match the manifest`,
  ];
  if (found.lengthCounts.length > 0) lines.push('', 'tokens per document', ...lengthLines(found.lengthCounts));
  lines.push('', 'most frequent tokens', ...tokenLines(found, total, tokenizer));
  for (const { split, at, text } of samples)
    lines.push('', `${split}, from token ${grouped(at)}:`, JSON.stringify(text));
  return `${lines.join('\n')}\n`;
}

function lengthLines(counts: readonly number[]): string[] {
  const most = Math.max(...counts);
  const first = counts.findIndex((count) => count > 0);
  return counts.slice(first).map((count, i) => {
    const range = `${grouped(2 ** (first + i))} to ${grouped(2 ** (first + i + 1) - 1)}`;
    return `${range.padStart(28)}  ${grouped(count).padStart(13)}  ${'#'.repeat(Math.ceil((count / most) * barCells))}`.trimEnd();
  });
}

function tokenLines({ tokenCounts }: Survey, total: number, tokenizer: Tokenizer): string[] {
  return frequent(tokenCounts).map(([id, count]) => {
    const share = `${((100 * count) / total).toFixed(1)} %`;
    return `${String(id).padStart(8)}  ${grouped(count).padStart(15)}  ${share.padStart(6)}  ${JSON.stringify(tokenizer.decode([id]))}`;
  });
}

function frequent(counts: Float64Array): [id: number, count: number][] {
  const entries = [...counts.entries()].filter(([, count]) => count > 0);
  return entries.sort(([, a], [, b]) => b - a).slice(0, tokensShown);
}

function sizesOf({ splits, shards }: ShardManifest) {
  const sum = (ranges: readonly { from: number; to: number }[]) =>
    ranges.reduce((all, { from, to }) => all + to - from, 0);
  return { train: sum(splits.train), val: sum(splits.val), total: shards.reduce((all, { tokens }) => all + tokens, 0) };
}

function toJson(manifest: ShardManifest, found: Survey, samples: readonly Sample[]): string {
  const { tokenizer, documents, textBytes, skipped, tokenBytes, shards } = manifest;
  return JSON.stringify({
    tokenizer,
    documents,
    textBytes,
    skipped,
    tokenBytes,
    shards: shards.length,
    tokens: sizesOf(manifest),
    /** Number of documents with at least 2^i and fewer than 2^(i+1) tokens. */
    documentLengths: found.lengthCounts,
    frequentTokens: frequent(found.tokenCounts).map(([id, count]) => ({ id, count })),
    samples,
  });
}
