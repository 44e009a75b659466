/** `launch classify`: the class of texts, from a model with labels. */
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { readRows } from '../data/examples/readRows.ts';
import { type Classification, classifyTexts } from '../run/classifyTexts.ts';
import { type LoadedModel, loadModel } from '../run/loadModel.ts';
import { textField } from '../task/rows.ts';
import { columnNames, columnsOption } from './columns.ts';
import { checkpointChoiceOf, engineOptionsOf, type ModelArguments, withModelOptions } from './options.ts';
import { warn } from './output.ts';

interface ClassifyArguments extends ModelArguments {
  readonly text: string | undefined;
  readonly file: string | undefined;
  readonly columns: string | undefined;
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
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object for each text' })
      .example('$0 classify --checkpoint runs/spam "You have won a prize, call now"', 'the label and its probability')
      .example('$0 classify --checkpoint runs/spam --file messages.csv --json', 'all rows of a table'),
  handler: run,
};

async function run(args: ArgumentsCamelCase<ClassifyArguments>): Promise<void> {
  const loaded = await loadModel({ ...checkpointChoiceOf(args, warn), engine: engineOptionsOf(args) });
  try {
    process.stderr.write(`${loaded.description}\n`);
    const texts = await textsOf(args, loaded);
    const classified = await classifyTexts(loaded, texts);
    process.stdout.write(classified.map((each) => `${args.json ? JSON.stringify(each) : lineOf(each)}\n`).join(''));
  } finally {
    await loaded.engine.dispose();
  }
}

async function textsOf({ text, file, columns }: ClassifyArguments, { runConfig }: LoadedModel): Promise<string[]> {
  if (file === undefined) {
    if (text === undefined) throw new UserError('expected a text to classify, or --file with rows');
    return [text];
  }
  const onNotice = (line: string): void => void process.stderr.write(`${line}\n`);
  const rows = await readRows({
    paths: [file],
    setting: '--file',
    cwd: process.cwd(),
    columns: columnNames(columns) ?? runConfig?.data.columns ?? [],
    onNotice,
  });
  return rows.map(({ row, at }) => textField(row, 'text', at));
}

/** The label, and the probabilities of all classes in descending order. */
function lineOf({ label, probabilities }: Classification): string {
  const sorted = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  return `${label}  ${sorted.map(([name, probability]) => `${name} ${(100 * probability).toFixed(1)} %`).join(', ')}`;
}
