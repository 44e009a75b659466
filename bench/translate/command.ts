/** `npm run bench -- translate`: one epoch of translation in Lockstep and in PyTorch, from the same weights and batches. */
import type { CommandModule } from 'yargs';
import { numberOption } from '../../src/cli/options.ts';
import { statusLine } from '../../src/cli/terminal.ts';
import { readRows } from '../../src/data/examples/readRows.ts';
import { parseSourceRow } from '../../src/task/seq2seq.ts';
import { runTranslateBench, translateText } from './translateBench.ts';
import { readVerses, type Verse } from './verses.ts';

interface BenchTranslateArguments {
  readonly file: string | undefined;
  readonly words: number;
  readonly 'held-out': number;
  readonly translated: number;
  readonly python: string;
  readonly set: readonly string[];
  readonly json: boolean;
}

export const benchTranslateCommand: CommandModule<unknown, BenchTranslateArguments> = {
  command: 'translate',
  describe: 'Learn to translate in Lockstep and in PyTorch: validation loss and BLEU',
  builder: (yargs) =>
    yargs
      .option('file', {
        type: 'string',
        requiresArg: true,
        describe: 'Rows with source and target [default: English and Spanish Bible verses, printed by diatheke]',
      })
      .option('words', { type: 'number', default: 20, requiresArg: true, describe: 'Words of the longest verse' })
      .option('held-out', { type: 'number', default: 500, requiresArg: true, describe: 'Rows to validate on' })
      .option('translated', { type: 'number', default: 200, requiresArg: true, describe: 'Rows of these to translate' })
      .option('python', {
        type: 'string',
        default: 'python3',
        requiresArg: true,
        describe: 'A Python with torch and numpy',
      })
      .option('set', { type: 'string', array: true, default: [], describe: 'Config keys, as group.key=value' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('npm run bench -- translate --python torch/bin/python', 'one epoch of 6,500 verses'),
  handler: async ({ file, words, python, set, json, ...rest }) => {
    const heldOut = numberOption('held-out', rest['held-out'], { min: 1, max: 1e6, whole: true });
    const translated = numberOption('translated', rest.translated, { min: 1, max: heldOut, whole: true });
    const rows = file === undefined ? await readVerses(words) : await rowsIn(file);
    let [name, status] = ['', statusLine('')];
    const report = await runTranslateBench({ rows, heldOut, translated, python, overrides: set }, (what, done) => {
      if (what !== name) [name, status] = [what, statusLine(what)];
      status(done);
    });
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : translateText(report));
  },
};

async function rowsIn(file: string): Promise<Verse[]> {
  const onNotice = (line: string) => void process.stderr.write(`${line}\n`);
  const rows = await readRows({ paths: [file], setting: '--file', cwd: process.cwd(), columns: [], onNotice });
  return rows.map(({ row, at }) => {
    const { source, target } = parseSourceRow(row, at);
    return { source, target };
  });
}
