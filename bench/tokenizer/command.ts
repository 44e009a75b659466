/** `npm run bench -- tokenizer`: times training and encoding beside other libraries. */
import type { CommandModule } from 'yargs';
import { bpeSizeMax, bpeSizeMin } from '../../src/base/tokenizerKind.ts';
import { numberOption } from '../../src/cli/options.ts';
import { statusLine } from '../../src/cli/terminal.ts';
import { readCorpus } from '../../src/data/corpus.ts';
import { renderTokenizers, runTokenizerBench } from './tokenizerBench.ts';

interface BenchTokenizerArguments {
  readonly text: string;
  readonly mbytes: number;
  readonly 'encode-mbytes': number;
  readonly vocab: number;
  readonly runs: number;
  readonly python?: string | undefined;
  readonly json: boolean;
}

export const benchTokenizerCommand: CommandModule<unknown, BenchTokenizerArguments> = {
  command: 'tokenizer',
  describe: 'Time the training of a tokenizer, and encoding, beside other libraries',
  builder: (yargs) =>
    yargs
      .option('text', {
        type: 'string',
        default: 'builtin',
        describe: 'As data.text: what the paragraphs are drawn from',
      })
      .option('mbytes', { type: 'number', default: 100, describe: 'Millions of bytes to train on' })
      .option('encode-mbytes', { type: 'number', default: 10, describe: 'Millions of bytes to encode' })
      .option('vocab', { type: 'number', default: 4096, describe: 'Tokens of the trained vocabulary, as bpe:4096' })
      .option('runs', { type: 'number', default: 3, describe: 'How often each is timed' })
      .option('python', {
        type: 'string',
        requiresArg: true,
        describe: "A Python that has Hugging Face's tokenizers, to compare with",
      })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('npm run bench -- tokenizer', '100 MB of the built-in text')
      .example("npm run bench -- tokenizer --text 'books/*.txt' --vocab 32000 --python ~/venv/bin/python", 'your own'),
  handler: async (args) => {
    const { text, mbytes, 'encode-mbytes': encodeMbytes, vocab, runs, python, json } = args;
    numberOption('mbytes', mbytes, { min: 0.001, max: 500 });
    numberOption('encode-mbytes', encodeMbytes, { min: 0.001, max: 500 });
    numberOption('vocab', vocab, { min: bpeSizeMin, max: bpeSizeMax, whole: true });
    numberOption('runs', runs, { min: 1, max: 1000, whole: true });
    const corpus = await readCorpus({ text, cwd: process.cwd(), setting: '--text' });
    const report = await runTokenizerBench(
      {
        text: corpus.text,
        name: corpus.name,
        trainMBytes: mbytes,
        encodeMBytes: encodeMbytes,
        vocabSize: vocab,
        runs,
        python,
      },
      statusLine('timing tokenizers'),
    );
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : renderTokenizers(report));
  },
};
