/** Preference optimization from the command line: where it starts, what it records, and that kills and resumes change nothing. */
import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { launch, lossesOf, set, start, useFolder } from './launch.ts';

const folder = useFolder();
/** The runs that are not killed need no processes of their own, which take longer to start than to train. */
const inOne = ['--single-process'];
const model = ['model.nLayer=2', 'model.nHead=2', 'model.nEmbd=32', 'model.blockSize=64'];
const steps = ['train.globalBatchSize=12', 'train.microBatchSize=4', 'train.logEverySteps=1', 'sample.maxTokens=0'];
const dpo = [
  'model.from=base',
  'model.dropout=0.1',
  'task.kind=dpo',
  'task.template=plain',
  'task.beta=0.5',
  'data.examples=pairs.jsonl',
  'data.valFraction=0.02',
  ...steps,
  'train.maxSteps=16',
  'eval.everySteps=8',
  'schedule.warmupSteps=0',
  'schedule.learningRate=0.001',
];

async function run(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await launch(args, folder());
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return stdout;
}

const read = (runDir: string, ...path: string[]): Promise<Buffer> => readFile(join(folder(), runDir, ...path));

beforeAll(async () => {
  const words = Array.from({ length: 600 }, (_, i) => `${(i * 7919).toString(5)}`);
  const lines = (rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  const pairs = words.map((word) => ({ prompt: `say ${word}`, chosen: word, rejected: `${word.slice(1)}!` }));
  await writeFile(join(folder(), 'pairs.jsonl'), lines(pairs));
  const rows = pairs.map(({ prompt, chosen, rejected }, i) => ({ prompt, completion: i % 2 ? chosen : rejected }));
  await writeFile(join(folder(), 'rows.jsonl'), lines(rows));
  const sft = ['task.kind=sft', 'task.template=plain', 'data.examples=rows.jsonl', 'eval.everySteps=0'];
  await run('--run-dir', 'base', ...inOne, '--workers', '1', ...set(...model, ...sft, ...steps, 'train.maxSteps=3'));
});

it.each(['dpo', 'reward'])('the plan of %s counts both answers of a pair', async (kind) => {
  const printed = await run('--dry-run', '--workers', '2', '--run-dir', 'planned', ...set(...dpo, `task.kind=${kind}`));
  expect(printed).toMatch(/step +about [\d,]+ tokens: 12 examples over 2 workers\n/);
  expect(printed).toMatch(/time +estimated .* GFLOP per step/);
  expect(existsSync(join(folder(), 'planned'))).toBe(false);
});

it('starts at log 2, records what it does to both answers, and survives kills to the bit', async () => {
  const start2 = ['--workers', '2', '--run-dir'];
  const printed = await run(...inOne, ...start2, 'whole', ...set(...dpo));
  expect(printed).toContain('computing the reference log probabilities of 600 pairs');
  const lines = (await read('whole', 'metrics.jsonl'))
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const names = ['accuracy', 'chosenLogprob', 'margin', 'rejectedLogprob'];
  for (const { means } of lines) expect(Object.keys(means).sort()).toEqual(names);
  const evaluations = lines.filter(({ valLoss }) => valLoss !== undefined);
  expect(evaluations.map(({ step }) => step)).toEqual([0, 8, 16]);
  const [first, , last] = evaluations;
  // Training has dropout, so only an evaluation compares equal models.
  expect(Math.abs(first.valLoss - Math.LN2)).toBeLessThan(1e-6);
  expect(Math.abs(first.means.margin)).toBeLessThan(1e-5);
  expect(last.valLoss).toBeLessThan(first.valLoss);
  expect(last.means.margin).toBeGreaterThan(0.05);

  // During the pass, and during a step: then the workers wait for another coordinator.
  const killed = start([...start2, 'killed', ...set(...dpo)], folder());
  await killed.printed(/computing the reference/);
  killed.process.kill('SIGKILL');
  await killed.finished;
  expect(existsSync(join(folder(), 'killed', 'reference.safetensors'))).toBe(false);
  const again = start(['--resume', 'killed'], folder());
  await again.printed(/step +5\//);
  again.process.kill('SIGKILL');
  await again.finished;
  const resumed = await run('--resume', 'killed');
  expect(resumed).not.toContain('computing the reference');
  const final = ['checkpoints', 'step-00000016'];
  for (const file of ['model.safetensors', 'optimizer.safetensors', 'trainer.json']) {
    expect((await read('killed', ...final, file)).equals(await read('whole', ...final, file)), file).toBe(true);
  }
  const reference = await read('whole', 'reference.safetensors');
  expect((await read('killed', 'reference.safetensors')).equals(reference)).toBe(true);
  expect(await lossesOf(join(folder(), 'killed'))).toEqual(await lossesOf(join(folder(), 'whole')));

  // One worker has the same reference. If the file is lost, the checkpoint tells whether it is made again with the same numbers.
  await run(...inOne, '--workers', '1', '--run-dir', 'one', ...set(...dpo, 'train.maxSteps=1', 'checkpoint.keep=9'));
  const path = join(folder(), 'one', 'reference.safetensors');
  expect((await readFile(path)).equals(reference)).toBe(true);
  await rm(path);
  expect(await run(...inOne, '--resume', 'one', ...set('train.maxSteps=2'))).toContain('computing the reference');
  expect((await readFile(path)).equals(reference)).toBe(true);
});

it('eval --task answers questions in the template of the checkpoint, and multiple choice', async () => {
  const rows = ['{"prompt":"say 1","completion":"1"}', '{"prompt":"say 2","completion":"2"}'];
  await writeFile(join(folder(), 'questions.jsonl'), rows.join('\n'));
  const exact = ['eval', '--checkpoint', 'base', '--task', 'exact'];
  const json = await launch([...exact, '--data', 'questions.jsonl', '--json'], folder());
  expect(JSON.parse(json.stdout)).toMatchObject({ task: 'exact', rows: 2, matches: expect.any(Number), step: 3 });
  const shown = await launch([...exact, '--data', 'questions.jsonl'], folder());
  expect(shown.stdout).toMatch(/^exact match \d+\.00 % \(\d of 2 answers\), ended by themselves \d+\.00 % \(\d\)\n$/);
  expect(await launch(exact, folder())).toMatchObject({ code: 2, stdout: '' });
  const bleu = await launch(['eval', '--checkpoint', 'base', '--task', 'bleu', '--data', 'questions.jsonl'], folder());
  expect(bleu.stdout).toMatch(
    /^BLEU \d+\.\d\d, n-grams .+ %, brevity penalty \d\.\d{3}, over 2 answers, of which \d ended/,
  );

  await writeFile(join(folder(), 'choices.jsonl'), '{"ctx":"say 1","endings":["1","2!"],"label":"0","ind":4}');
  const choices = ['eval', '--checkpoint', 'base', '--task', 'choices', '--data', 'choices.jsonl'];
  const chosen = await launch(choices, folder());
  expect(chosen.stdout).toMatch(
    /^accuracy \d+\.00 %, normalized by bytes \d+\.00 %, over 1 row; guessing has 50\.00 %\n$/,
  );
});
