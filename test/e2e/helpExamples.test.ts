/** Every command's help has examples, and they work: each that can run here and soon is run as it stands, with a smaller model. */
import { spawn } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Argv } from 'yargs';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { benches } from '../../src/cli/bench.ts';
import { type CommandEntry, namesOf } from '../../src/cli/commandEntry.ts';
import { commands } from '../../src/cli/commandLine.ts';
import { completionEntry } from '../../src/cli/completion.ts';
import { launch, set, tiny, useFolder } from './launch.ts';

const completion = completionEntry(() => {});
const nameOf = (entry: CommandEntry) => namesOf(entry)[0]!;
/** `bench` itself shows an example of each of its commands, which have their own. */
const entries = [...commands.filter(({ command }) => command !== 'bench'), ...benches, completion];

/** What the builders hand to yargs' `example`. */
function examplesOf({ builder }: { builder?: unknown }): string[] {
  const examples: string[] = [];
  const recorder: Argv = new Proxy({} as Argv, {
    get: (_, method) => (text: string) => {
      if (method === 'example') examples.push(text.replaceAll('$0', 'launch'));
      return recorder;
    },
  });
  (builder as (yargs: Argv) => unknown)(recorder);
  return examples;
}

const folder = useFolder();
/** Steps of less than a millisecond: the example has 500. */
const fast = [
  ...tiny.filter((each) => !/^(model\.(nLayer|blockSize)|train\.(globalB|microB|hash|log))/.test(each)),
  ...['model.nLayer=1', 'model.blockSize=8', 'train.globalBatchSize=2', 'train.microBatchSize=1'],
];
const small = (...more: string[]): string => ` ${set(...tiny, 'train.maxSteps=2', ...more).join(' ')}`;

/** The examples to run, and what is added to each: a smaller model, fewer steps. Some need the results of earlier ones. */
const run: Record<string, string> = {
  launch: small('eval.everySteps=2'),
  'launch --workers 4 --config gpt-small.yaml': small(),
  'launch --config my.yaml --set train.maxSteps=500 optimizer.weightDecay=0': ` ${fast.join(' ')}`,
  'launch --resume runs/gpt-small': ' --set train.maxSteps=3',
  'launch --workers 4 --min-workers 2': small(),
  'launch --dashboard --trace 20': small(),
  'launch prepare corpus/ --tokenizer gpt2 --out data/corpus': '',
  'launch prepare "c4-train.*.json.gz" reviews.csv --field text --tokenizer gpt2 --out data/c4': '',
  'zcat dump.gz | launch prepare - --tokenizer gpt2 --out data/dump': '',
  'launch prepare books/ --tokenizer bpe:8000 --out data/books': '',
  'launch prepare builtin --tokenizer char --out data/shakespeare': '',
  'launch inspect data/corpus': '',
  'launch inspect data/corpus --samples 20 --seed 1': '',
  'launch inspect rows.jsonl --tokenizer gpt2': '',
  'launch inspect spam.tsv --columns label,text --json': '',
  'launch generate': ' --max-tokens 5',
  'cat start.txt | launch generate --prompt -': ' --max-tokens 5',
  'launch generate runs/quickstart --best': ' --max-tokens 5',
  'launch generate --prompt-file start.txt --num-samples 3': ' --max-tokens 5',
  'launch generate --greedy --ignore-eos --stop .': ' --max-tokens 5',
  'launch chat': ' --max-tokens 5',
  'launch chat runs/quickstart --max-tokens 60 --stop .': '',
  'launch eval runs/shakespeare-char': '',
  'launch plot runs/quickstart': '',
  'launch report runs/quickstart': '',
  'launch runs': '',
  'launch runs --json': '',
  'launch report runs/quickstart --out page.html': '',
  'launch doctor': '',
  'launch keys --out keys': '',
  'launch cluster --run-dir runs/a --nodes 4 --print slurm': '',
  'launch completion bash': '',
  'launch bench step --config shakespeare-char.yaml': ' --steps 2',
  'launch bench ring': ' --mbytes 4 --repetitions 2',
  'launch bench generate --checkpoint runs/quickstart --prompts 1,30 --json': '',
  'launch runs name quickstart baseline': '',
  'launch runs rm baseline': '',
};

/** What is not, and why. */
const notRun: Record<string, string> = {
  'launch --listen tcp://0.0.0.0:5555 --workers 2 --min-workers 4':
    'waits for another machine; comeAndGo.test.ts has it',
  'launch join tcp://192.168.1.10:5555 --key join.key --workers 2': 'needs that machine; comeAndGo.test.ts has it',
  'launch cluster --run-dir runs/a --nodes 2 --node-rank 0 --coordinator a:5555':
    'waits for another node; cluster.test.ts has it',
  'launch cluster --run-dir runs/a --hosts a:2,b:2': 'needs those machines; hosts.test.ts has two',
  'launch join tcp://run-0.run:5555 --wait 600': 'needs that machine; otherAddress.test.ts has it',
  'launch prepare "web/*.jsonl.zst" --tokenizer gpt2 --out data/web':
    'Node 20 cannot write zstd; prepare.test.ts has it',
  'launch prepare wiki.parquet --field body --tokenizer gpt2 --val-documents 0.001 --out data/wiki':
    'needs a Parquet file of thousands of documents; prepare.test.ts has one',
  'launch inspect rows.jsonl --tokenizer runs/base --task sft --template chatml --samples 10':
    'needs a run whose tokenizer has an end token; inspectRows.test.ts has one',
  'launch generate gpt2/ --prompt "Once upon" --min-p 0.05': 'needs published weights',
  'launch eval gpt2/ --data book.txt --split all': 'needs published weights',
  'launch eval gpt2/ --task choices --data hellaswag_val.jsonl': 'needs published weights',
  'launch eval runs/spam --data test.csv': 'needs a classifier; classifier.test.ts has one',
  'launch eval runs/sft': 'needs a run on rows; exampleRuns.test.ts has one',
  'launch eval runs/translate --task bleu --data a.en --targets a.es':
    'needs a run that translates; translation.test.ts has one',
  'launch generate runs/translate --prompt forty-two --beams 4':
    'needs a run that translates; translation.test.ts has one',
  'launch inspect train.en --targets train.es --tokenizer bpe:8000': 'needs such files; translation.test.ts has some',
  'launch eval runs/sft --task exact --data test.jsonl --workers 2':
    'needs a run with a chat template; preferences.test.ts has one',
  'launch classify --checkpoint runs/spam "You have won a prize, call now"':
    'needs a classifier; classifier.test.ts has one',
  'launch classify --checkpoint runs/spam --file messages.csv --too-long truncate --json':
    'needs a classifier; classifier.test.ts has one',
  'launch finetune gpt2/ instructions.jsonl': 'needs published weights; finetune.test.ts has others',
  'launch finetune gpt2/ spam.csv --set train.trainable=lastBlocks:1':
    'needs published weights; finetune.test.ts has others',
  'launch finetune runs/sft pairs.jsonl --task reward': 'needs weights; finetune.test.ts has some',
  'launch finetune runs/translate a.en --targets a.es': 'needs a translator; translator.test.ts has one',
  'launch bench step --config gpt-small.yaml --set train.globalBatchSize=4 train.microBatchSize=4 --steps 3':
    'minutes of 124 M parameters',
  'launch bench generate --config gpt-small.yaml': '124 M parameters',
  'launch bench generate --config gpt-small.yaml --batch 1,8': '124 M parameters',
  'launch bench ring --ranks 3 --mbytes 500 --json': 'gigabytes of memory',
  'launch serve': 'serves until it is ended; serve.test.ts has it',
  'launch serve runs/quickstart --port 0 --batch 16': 'serves until it is ended; serve.test.ts has it',
  'launch dashboard': 'serves until it is ended; dashboard.test.ts has it',
  'launch dashboard runs/a runs/b --port 8080': 'serves until it is ended; dashboard.test.ts has it',
  'launch merge runs/lora --out merged/': 'needs a run with LoRA; lora.test.ts has one',
  'launch merge runs/lora --best --out merged/': 'needs a run with LoRA; lora.test.ts has one',
  'launch export runs/lora --out adapter/': 'needs a run with LoRA; lora.test.ts has one',
  'launch export runs/lora --base openai-community/gpt2 --out adapter/': 'needs a run with LoRA; lora.test.ts has one',
  'launch --config grpo --init-from runs/sft': 'needs weights; rollouts.test.ts has some',
  'launch --config lora --init-from gpt2/ --set data.text=book.txt': 'needs published weights; lora.test.ts has others',
  'launch plot runs/a runs/b --metric valLoss --out val.png': 'needs two runs; records.test.ts has them',
  'launch plot runs/a runs/b --smooth 0.98': 'needs two runs; records.test.ts has them',
  'launch bench scaling --workers 1,2,4,8 --device simulated': 'a minute; records.test.ts has it',
  'launch bench scaling --workers 1,2 --config shakespeare-char.yaml --steps 50': 'a minute; records.test.ts has it',
};

it('every example is one that is run, or is listed with the reason why not', async () => {
  const modules = await Promise.all(entries.map((entry) => entry.load([nameOf(entry)])));
  const all = modules.flatMap(examplesOf);
  expect([...Object.keys(run), ...Object.keys(notRun)].sort()).toEqual([...all].sort());
});

// The help of every command is in test/unit/cli/help.test.ts.
it.each(['', 'bench ring'])('launch %s --help has an example', async (command) => {
  const { code, stdout } = await launch([...command.split(' ').filter(Boolean), '--help'], folder());
  expect(code).toBe(0);
  expect(stdout).toMatch(/\nExamples:\n {2}npx launch/);
});

describe('the examples', () => {
  beforeAll(async () => {
    const here = folder();
    mkdirSync(join(here, 'bin'));
    const command = join(here, 'bin/launch');
    writeFileSync(command, `#!/bin/sh\nexec '${process.execPath}' '${join(packageRoot, 'dist/cli/main.js')}' "$@"\n`);
    chmodSync(command, 0o755);
    writeFileSync(join(here, 'my.yaml'), 'model:\n  nLayer: 1\n');
    cpSync(join(packageRoot, 'docs'), join(here, 'corpus'), { recursive: true });
    cpSync(join(packageRoot, 'docs'), join(here, 'books'), { recursive: true });
    writeFileSync(join(here, 'start.txt'), 'export');
    writeFileSync(join(here, 'dump.gz'), gzipSync('A line of a dump.\n'.repeat(5_000)));
    writeFileSync(join(here, 'c4-train.0.json.gz'), gzipSync('{"text":"A document."}\n'.repeat(500)));
    writeFileSync(join(here, 'reviews.csv'), `text,stars\n${'"Good, at times.",4\n'.repeat(500)}`);
    writeFileSync(join(here, 'rows.jsonl'), '{"instruction":"Add.","input":"1 + 1","output":"2"}\n');
    writeFileSync(join(here, 'spam.tsv'), 'ham\tSee you at five.\nspam\tYou have won!\n');
    const overrides = set(...tiny, 'train.maxSteps=1');
    const { code, stderr } = await launch(['--run-dir', 'runs/shakespeare-char', ...overrides], here);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  it.each(Object.entries(run))('%s', async (example, added) => {
    const env = {
      ...process.env,
      TMPDIR: folder(),
      PATH: `${join(folder(), 'bin')}${delimiter}${process.env['PATH']}`,
    };
    const child = spawn('sh', ['-c', example + added], { cwd: folder(), env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk;
      });
    }
    const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
    expect(code, output).toBe(0);
  });
});
