/** `launch prepare`: converts text of any size into a folder of tokens that a run reads from disk. */
import { stat } from 'node:fs/promises';
import { sep } from 'node:path';
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { availableCores } from '../base/cores.ts';
import { interruptedExitCode, UserError } from '../base/errors.ts';
import { countOf, grouped } from '../base/numberText.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { expectedTokenizer, parseTokenizerKind, type TokenizerKind } from '../base/tokenizerKind.ts';
import { storedPath, userPath } from '../base/userPath.ts';
import { lineEndingChoices, normalisedNotice } from '../data/lineEndings.ts';
import { threadPool } from '../data/prepare/encodePool.ts';
import { sourceFormats } from '../data/prepare/fileKinds.ts';
import { type MadeOfText, type Prepared, prepareShards } from '../data/prepare/prepareShards.ts';
import type { Source } from '../data/prepare/source.ts';
import { checkFieldOptions, findSources } from '../data/prepare/sources.ts';
import type { Split } from '../data/prepare/splitWriter.ts';
import { createTokenizer } from '../data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { onEndRequest } from './endRequests.ts';
import { numberOption } from './options.ts';
import { print, warn } from './output.ts';
import { goOnWithoutPrinting } from './outputFailures.ts';
import { prepareProgress } from './prepareProgress.ts';

const prepareOptions = {
  tokenizer: {
    type: 'string',
    requiresArg: true,
    demandOption: true,
    describe:
      'char, byte, gpt2, cl100k, o200k, bpe:N (trained on the sources), or a folder with a tokenizer.json, such as a checkpoint',
  },
  out: {
    alias: 'o',
    type: 'string',
    requiresArg: true,
    demandOption: true,
    describe: 'Output folder, or s3://BUCKET/PREFIX',
  },
  field: {
    type: 'string',
    requiresArg: true,
    describe: 'JSON key or table column that holds the text [default: text]',
  },
  format: {
    choices: sourceFormats,
    describe: 'Format of the sources [default: detected from name and content; standard input: text]',
  },
  'line-endings': {
    choices: lineEndingChoices,
    default: 'lf' as const,
    describe: 'lf: convert Windows line endings (CRLF) to LF; keep: leave the text unchanged',
  },
  'val-fraction': {
    type: 'number',
    requiresArg: true,
    describe: 'Fraction of the tokens for validation, from the end [default: 0.1]',
  },
  'val-documents': {
    type: 'number',
    requiresArg: true,
    describe: 'Fraction of the documents for validation, drawn from all of the input instead',
  },
  'skip-bad': {
    type: 'boolean',
    default: false,
    describe: 'Skip and count JSON lines and table rows without text instead of failing',
  },
  threads: { type: 'number', requiresArg: true, describe: 'Encoding threads [default: one per core]' },
  'shard-tokens': {
    type: 'number',
    requiresArg: true,
    default: 2 ** 27,
    describe: 'Tokens per output file',
  },
} as const satisfies Record<string, Options>;

type PrepareArguments = InferredOptionTypes<typeof prepareOptions> & { readonly sources: string[] };

export const prepareCommand: CommandModule<object, PrepareArguments> = {
  builder: (yargs) =>
    yargs
      .positional('sources', {
        type: 'string',
        array: true,
        demandOption: true,
        describe: 'Files, folders, globs, builtin, or - for standard input',
      })
      .options(prepareOptions)
      .conflicts('val-fraction', 'val-documents')
      .example('$0 prepare corpus/ --tokenizer gpt2 --out data/corpus', 'all files in a folder, one document each')
      .example('$0 prepare "web/*.jsonl.zst" --tokenizer gpt2 --out data/web', 'JSON lines with a "text" key')
      .example(
        '$0 prepare wiki.parquet --field body --tokenizer gpt2 --val-documents 0.001 --out data/wiki',
        'a table column',
      )
      .example(
        '$0 prepare "c4-train.*.json.gz" reviews.csv --field text --tokenizer gpt2 --out data/c4',
        'several formats',
      )
      .example('zcat dump.gz | $0 prepare - --tokenizer gpt2 --out data/dump', 'standard input')
      .example('$0 prepare books/ --tokenizer bpe:8000 --out data/books', 'a new vocabulary, trained on the text')
      .example('$0 prepare builtin --tokenizer char --out data/shakespeare', 'the text from the package')
      .epilog(
        'Files ending in .json, .jsonl, .ndjson, .csv, .tsv or .parquet hold many documents; all others are one text. ' +
          '.gz and .zst files are decompressed. If interrupted, rerun the same command to resume: the result is identical.',
      ) as never,
  handler: run,
};

async function run(args: ArgumentsCamelCase<PrepareArguments>): Promise<void> {
  goOnWithoutPrinting(); // the result is the folder
  const cwd = process.cwd();
  const out = storedPath(cwd, args.out);
  const split = splitOf(args);
  numberOption('shard-tokens', args.shardTokens, { min: 1024, max: 2 ** 31, whole: true });
  const threads = args.threads ?? availableCores();
  numberOption('threads', threads, { min: 1, max: 256, whole: true });
  const tokenizer = await tokenizerOf(args.tokenizer, cwd);
  const sources = await sourcesOf(args, cwd);
  checkFieldOptions(sources, {
    options: [...(args.field === undefined ? [] : ['--field']), ...(args.skipBad ? ['--skip-bad'] : [])],
    formatOption: '--format',
  });
  const progress = prepareProgress(sources.reduce((sum, { size }) => sum + size, 0));
  const ignoreRequests = endOnRequest(progress.end);
  let told = 0;
  let normalised = 0;
  const prepared = await prepareShards({
    sources,
    out,
    tokenizer,
    split,
    field: args.field ?? 'text',
    lineEndings: args.lineEndings,
    skipBad: args.skipBad,
    shardTokens: args.shardTokens,
    makePool: threadPool(threads),
    listener: {
      waiting: print,
      resumed: (documents, tokens) =>
        print(`resuming after ${countOf(documents, 'document')}, ${grouped(tokens)} tokens`),
      progress: progress.update,
      skipped(what) {
        if (++told <= 10) warn(`skipped ${what}`);
      },
      normalised: (lines) => {
        normalised += lines;
      },
    },
  }).finally(() => {
    ignoreRequests();
    progress.end();
  });
  if (normalised > 0) print(normalisedNotice(grouped(normalised), '--line-endings keep'));
  print(
    prepared === undefined ? `${args.out} already exists, made from the same sources` : summary(prepared, args.out),
  );
}

/**
 * Ends the command at a signal. What is complete is on the disk at any time, so nothing has to be finished first.
 * @returns a function that removes the listener
 */
function endOnRequest(endProgress: () => void): () => void {
  return onEndRequest(() => {
    endProgress();
    process.stderr.write('interrupted. The same command resumes\n');
    process.exit(interruptedExitCode);
  });
}

function summary({ documents, textBytes, skipped, trainTokens, valTokens, shards }: Prepared, out: string): string {
  const left = skipped === 0 ? '' : `, ${grouped(skipped)} skipped`;
  if (valTokens === 0) {
    warn('no validation data: training on this folder needs data.validation=TEXT, or eval.everySteps=0');
  }
  return (
    `${countOf(documents, 'document')}${left}, ${grouped(textBytes)} bytes of text: ${grouped(trainTokens)} tokens to train on, ${grouped(valTokens)} to validate, ` +
    `in ${countOf(shards, 'file')}\n` +
    `train on it: ${ownCommand('--set', `data.shards=${out}`)}\nlook into it: ${ownCommand('inspect', out)}`
  );
}

function splitOf({ valFraction, valDocuments }: ArgumentsCamelCase<PrepareArguments>): Split {
  if (valDocuments !== undefined) {
    numberOption('val-documents', valDocuments, { min: 0, max: 0.9 });
    return { by: 'documents', val: valDocuments };
  }
  const val = valFraction ?? 0.1;
  numberOption('val-fraction', val, { min: 0, max: 0.9 });
  return { by: 'fraction', val };
}

async function tokenizerOf(name: string, cwd: string): Promise<Tokenizer | MadeOfText> {
  // Here, the name of a folder does not need a slash.
  const spec =
    parseTokenizerKind(name) ?? ((await exists(userPath(cwd, name))) ? parseTokenizerKind(`./${name}`) : undefined);
  if (spec === undefined) throw new UserError(`--tokenizer: expected ${expectedTokenizer}, received ${name}`);
  if (spec.type === 'char') return 'char';
  if (spec.type === 'bpe') return `bpe:${spec.vocabSize}`;
  return createTokenizer(spec.type === 'file' ? (spec.path as TokenizerKind) : spec.type, '', { cwd });
}

async function sourcesOf(
  { sources, format, out }: ArgumentsCamelCase<PrepareArguments>,
  cwd: string,
): Promise<Source[]> {
  const found = await findSources(sources, { cwd, format, onNotice: warn });
  // Output inside an input folder is not part of the input.
  const inOut = storedPath(cwd, out) + sep;
  return found.filter(({ path }) => path === undefined || !path.startsWith(inOut));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
