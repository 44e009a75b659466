/** `launch classify`: the class of texts, from a model with labels. */
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { readRows } from '../data/examples/readRows.ts';
import { type Classification, classifyTexts, type TooLongTexts, tooLongTexts } from '../run/classifyTexts.ts';
import { type LoadedModel, loadModel } from '../run/loadModel.ts';
import { textField } from '../task/rows.ts';
import { columnNames, columnsOption, rowFormatOption } from './columns.ts';
import { checkpointChoiceOf, engineOptionsOf, type ModelArguments, withModelOptions } from './options.ts';
import { warn } from './output.ts';

interface ClassifyArguments extends ModelArguments {
  readonly text: string | undefined;
  readonly file: string | undefined;
  readonly columns: string | undefined;
  readonly format: (typeof rowFormatOption.choices)[number] | undefined;
  readonly 'too-long': TooLongTexts;
  readonly json: boolean;
}

export const classifyCommand: CommandModule<object, ClassifyArguments> = {
  builder: (yargs: Argv<object>) =>
    withModelOptions(yargs)
      .positional('text', { type: 'string', describe: 'Text to classify' })
      .option('file', {
        type: 'string',
        requiresArg: true,
        conflicts: 'text',
        describe: 'Rows with a text each, as data.examples: JSON lines, JSON, CSV, TSV or Parquet',
      })
      .option('columns', { ...columnsOption, implies: 'file' })
      .option('format', { ...rowFormatOption, implies: 'file' })
      .option('too-long', {
        choices: tooLongTexts,
        requiresArg: true,
        default: 'error' as const,
        describe: "Texts that are longer than the model's context: refuse them, or classify their beginning",
      })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object for each text' })
      .example('$0 classify --checkpoint runs/spam "You have won a prize, call now"', 'the label and its probability')
      .example(
        '$0 classify --checkpoint runs/spam --file messages.csv --too-long truncate --json',
        'all rows of a table; of long texts the beginning counts',
      ),
  handler: run,
};

async function run(args: ArgumentsCamelCase<ClassifyArguments>): Promise<void> {
  const loaded = await loadModel({ ...checkpointChoiceOf(args, warn), engine: engineOptionsOf(args) });
  try {
    process.stderr.write(`${loaded.description}\n`);
    const { texts, places } = await textsOf(args, loaded);
    const classified = await classifyTexts(loaded, texts, {
      ...{ tooLong: args.tooLong, cure: '--too-long truncate', places },
      onShortened: (count) =>
        notice(
          `shortened ${grouped(count)} of ${grouped(texts.length)} texts to ${grouped(loaded.model.config.blockSize)} tokens`,
        ),
    });
    process.stdout.write(classified.map((each) => `${args.json ? JSON.stringify(each) : lineOf(each)}\n`).join(''));
  } finally {
    await loaded.engine.dispose();
  }
}

/** Texts and the place of each in messages. */
interface Texts {
  readonly texts: readonly string[];
  readonly places: readonly string[];
}

async function textsOf({ text, file, columns, format }: ClassifyArguments, { runConfig }: LoadedModel): Promise<Texts> {
  if (file === undefined) {
    if (text === undefined) throw new UserError('expected a text to classify, or --file with rows');
    return { texts: [text], places: ['the text'] };
  }
  const rows = await readRows({
    paths: [file],
    setting: '--file',
    cwd: process.cwd(),
    columns: columnNames(columns) ?? runConfig?.data.columns ?? [],
    format,
    onNotice: notice,
  });
  return { texts: rows.map(({ row, at }) => textField(row, 'text', at)), places: rows.map(({ at }) => at) };
}

function notice(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** The label, and the probabilities of all classes in descending order. */
function lineOf({ label, probabilities }: Classification): string {
  const sorted = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  return `${label}  ${sorted.map(([name, probability]) => `${name} ${(100 * probability).toFixed(1)} %`).join(', ')}`;
}
