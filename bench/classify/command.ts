/** `npm run bench -- classify`: how good a small classifier from random weights is, over several seeds, beside naive Bayes. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { columnNames, columnsOption } from '../../src/cli/columns.ts';
import { countsOption, numberOption } from '../../src/cli/options.ts';
import { statusLine } from '../../src/cli/terminal.ts';
import { readRows } from '../../src/data/examples/readRows.ts';
import { textField } from '../../src/task/rows.ts';
import { classifyTable, runClassifyBench } from './classifyBench.ts';
import { downloadMails } from './mails.ts';
import type { LabelledText } from './naiveBayes.ts';

interface BenchClassifyArguments {
  readonly file: string | undefined;
  readonly columns: string | undefined;
  readonly seeds: string;
  readonly 'held-out': number;
  readonly set: readonly string[];
  readonly json: boolean;
}

export const benchClassifyCommand: CommandModule<unknown, BenchClassifyArguments> = {
  command: 'classify',
  describe: 'Train a classifier with several seeds: accuracy, with naive Bayes beside it',
  builder: (yargs) =>
    yargs
      .option('file', {
        type: 'string',
        requiresArg: true,
        describe: 'Rows with text and label [default: 6,046 mails of SpamAssassin, downloaded with npm]',
      })
      .option('columns', { ...columnsOption, implies: 'file' })
      .option('seeds', { type: 'string', default: '1,2,3', requiresArg: true, describe: 'Seeds, separated by commas' })
      .option('held-out', { type: 'number', default: 1000, requiresArg: true, describe: 'Rows to test on' })
      .option('set', { type: 'string', array: true, default: [], describe: 'Config keys, as group.key=value' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('npm run bench -- classify', 'spam among mails: two or three minutes a seed on 2 cores')
      .example('npm run bench -- classify --file sms-spam.tsv --columns label,text', 'spam among text messages'),
  handler: async ({ file, columns, seeds, set, json, ...rest }) => {
    numberOption('held-out', rest['held-out'], { min: 1, max: 1e6, whole: true });
    const rows = file === undefined ? await mails() : await rowsIn(file, columnNames(columns) ?? []);
    const progress = statusLine('training');
    const notice = (line: string) => void process.stderr.write(`${line}\n`);
    const table = classifyTable();
    const print = (text: string) => void process.stdout.write(text);
    if (!json) print(`${rows.length} rows\n${table.heading}`);
    const results = await runClassifyBench(
      {
        rows,
        seeds: countsOption('seeds', seeds, { min: 0, max: 2 ** 32 - 1 }),
        heldOut: rest['held-out'],
        overrides: set,
      },
      { progress, notice, measured: (result) => json || print(table.row(result)) },
    );
    print(json ? `${JSON.stringify({ rows: rows.length, results }, null, 2)}\n` : table.summary(results));
  },
};

async function mails(): Promise<LabelledText[]> {
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-mails-'));
  try {
    return await downloadMails(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function rowsIn(file: string, columns: readonly string[]): Promise<LabelledText[]> {
  const onNotice = (line: string) => void process.stderr.write(`${line}\n`);
  const rows = await readRows({ paths: [file], setting: '--file', cwd: process.cwd(), columns, onNotice });
  return rows.map(({ row, at }) => ({ text: textField(row, 'text', at), label: String(row['label']) }));
}
