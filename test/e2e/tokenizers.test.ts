/** Runs with each kind of tokenizer: their checkpoints carry it, and are continued, sampled and evaluated with it. */
import { appendFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { tokenizerFromFiles } from '../../src/data/tokenizers/openTokenizer.ts';
import { unigramFiles } from '../unit/data/tokenizers/huggingFaceFiles.ts';
import { launch, lossesOf, metricsOf, set, tiny, useFolder } from './launch.ts';

const folder = useFolder();

beforeAll(async () => {
  await writeFile(join(folder(), 'text.md'), await readFile(join(packageRoot, 'ARCHITECTURE.md')));
  await mkdir(join(folder(), 'unigram'));
  for (const [name, content] of Object.entries(unigramFiles)) await writeFile(join(folder(), 'unigram', name), content);
});

async function run(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await launch(args, folder());
  expect(code, stderr).toBe(0);
  return stdout;
}

/** The tokenizer in the newest checkpoint of a run. */
async function savedTokenizer(name: string) {
  const checkpoints = join(folder(), name, 'checkpoints');
  const newest = join(
    checkpoints,
    (await readdir(checkpoints))
      .filter((entry) => entry.startsWith('step-'))
      .sort()
      .at(-1) ?? '',
  );
  const files: Record<string, string> = {};
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    files[file] = await readFile(join(newest, file), 'utf8');
  return { tokenizer: await tokenizerFromFiles(files), newest };
}

it.each([
  { kind: 'bpe:300', vocabSize: 300, rows: 300 },
  { kind: 'byte', vocabSize: 257, rows: 320 },
  { kind: './unigram', vocabSize: 107, rows: 107 },
])('$kind trains, is saved, resumes, generates and evaluates', async ({ kind, vocabSize, rows }) => {
  const name = `run-${kind.replace(/\W/g, '')}`;
  const options = [
    ...tiny,
    'data.text=text.md',
    `data.tokenizer=${kind}`,
    `model.vocabSize=${rows === vocabSize ? 0 : rows}`,
  ];
  const trained = await run('--workers', '1', '--run-dir', name, ...set(...options, 'train.maxSteps=6'));
  expect(trained).toContain(`${kind} tokenizer with ${vocabSize} tokens`);
  const { tokenizer, newest } = await savedTokenizer(name);
  expect(tokenizer.vocabSize).toBe(vocabSize);
  const described = JSON.parse(await readFile(join(newest, 'config.json'), 'utf8'));
  expect(described).toMatchObject({ vocab_size: rows, eos_token_id: tokenizer.endOfText ?? null });

  await run('--resume', name, ...set('train.maxSteps=12', 'eval.everySteps=12', 'eval.batches=0'));
  expect(await lossesOf(join(folder(), name))).toHaveLength(12);

  const generated = await run('generate', '--checkpoint', name, '--prompt', 'the worker', '--max-tokens', '20');
  expect(generated.startsWith('the worker')).toBe(true);
  if (kind.startsWith('b')) {
    const fromNothing = ['--prompt', '<|endoftext|>', '--special-tokens', '--max-tokens', '1'];
    expect(await run('generate', '--checkpoint', name, ...fromNothing)).toMatch(/^<\|endoftext\|>/);
  }
  const evaluated = JSON.parse(await run('eval', '--checkpoint', name, '--json'));
  expect(evaluated).toMatchObject({ step: 12, split: 'val' });
  const last = (await metricsOf(join(folder(), name))).at(-1);
  expect(last).toMatchObject({ step: 12, valTargets: evaluated.tokens });
  expect(last?.valLoss).toBeCloseTo(evaluated.loss, 5);
  expect(last?.valPerplexity).toBeCloseTo(evaluated.perplexity, 2);
  expect(last?.valBitsPerByte).toBeCloseTo(evaluated.bitsPerByte, 5);
});

it('is taken from the checkpoint by a resume, not trained again', async () => {
  const options = [...tiny, 'data.text=text.md', 'data.tokenizer=bpe:280', 'train.maxSteps=3'];
  await run('--workers', '1', '--run-dir', 'own', ...set(...options));
  const { newest } = await savedTokenizer('own');
  const before = await readFile(join(newest, 'tokenizer.json'), 'utf8');
  // A tokenizer trained on it would be another; what the old one makes of it is another sequence too.
  await appendFile(join(folder(), 'text.md'), 'zq'.repeat(2_000));
  const changed = await launch(['--resume', 'own', ...set('train.maxSteps=6')], folder());
  expect(changed.code).toBe(2);
  expect(changed.stderr).toMatch(/the text has changed/);
  await writeFile(join(folder(), 'text.md'), await readFile(join(packageRoot, 'ARCHITECTURE.md')));
  await run('--resume', 'own', ...set('train.maxSteps=6'));
  expect(await readFile(join((await savedTokenizer('own')).newest, 'tokenizer.json'), 'utf8')).toBe(before);
});

it('is refused if the name is unknown or the file does not exist', async () => {
  for (const [kind, message] of [
    ['bpe:100', 'expected one of char, byte, gpt2, cl100k, o200k, bpe:N with N from 257 to 1000000 tokens'],
    ['./absent', "./absent: expected Hugging Face's tokenizer.json or a folder that has one"],
  ] as const) {
    const { code, stderr } = await launch([...set(...tiny, `data.tokenizer=${kind}`)], folder());
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  }
});
