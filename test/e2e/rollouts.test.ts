/** Runs that learn from what they write themselves: whatever is killed, they write and learn the same, to the bit. */
import { existsSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { beforeAll, expect, it } from 'vitest';
import { nightlyIt } from '../nightly.ts';
import { launch, set, start, useFolder } from './launch.ts';

const folder = useFolder();
/** Iterations of 32 answers and 8 steps. */
const policy = [
  'task.template=plain',
  'task.prompts=8',
  'task.group=4',
  'task.inner=2',
  'task.maxTokens=24',
  'task.reward=./reward.mjs',
  'data.examples=prompts.jsonl',
  'train.globalBatchSize=8',
  'train.microBatchSize=4',
  'train.logEverySteps=1',
  'train.maxSteps=12',
  'checkpoint.everySteps=2',
  'checkpoint.keep=2',
  'eval.everySteps=0',
  'sample.maxTokens=0',
  'schedule.kind=constant',
  'schedule.warmupSteps=0',
  'schedule.learningRate=0.01',
];
const model = ['model.nLayer=1', 'model.nHead=2', 'model.nEmbd=16', 'model.blockSize=64', 'data.tokenizer=char'];
const grpo = [...model, ...policy, 'task.kind=grpo'];

async function run(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr, orphans } = await launch(args, folder());
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(orphans).toEqual([]);
  return stdout;
}

const read = (runDir: string, ...path: string[]): Promise<Buffer> => readFile(join(folder(), runDir, ...path));

async function linesOf(runDir: string, file: string): Promise<Record<string, unknown>[]> {
  const text = existsSync(join(folder(), runDir, file)) ? (await read(runDir, file)).toString() : '';
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** The hashes of the iterations, as the journal of events has them. */
async function hashesOf(runDir: string): Promise<string[]> {
  const events = await linesOf(runDir, 'events.jsonl');
  return events.flatMap(({ event, reason }) =>
    event === 'rollouts' ? [/sha256 (\w{16})/.exec(String(reason))![1]!] : [],
  );
}

async function expectSameEnd(runDir: string, other: string, step: number): Promise<void> {
  const final = ['checkpoints', `step-${String(step).padStart(8, '0')}`];
  for (const file of ['model.safetensors', 'optimizer.safetensors', 'trainer.json']) {
    expect((await read(runDir, ...final, file)).equals(await read(other, ...final, file)), file).toBe(true);
  }
}

/** @param end after which it cannot become true any more */
async function until(condition: () => Promise<boolean>, end: Promise<unknown>): Promise<void> {
  let hasEnded = false;
  void end.then(() => {
    hasEnded = true;
  });
  while (!(await condition()) && !hasEnded) await setTimeout(2);
}

beforeAll(async () => {
  const rows = Array.from({ length: 20 }, (_, i) => ({ prompt: `say ${'abcde'[i % 5]} ${i}`, completion: 'abc' }));
  await writeFile(join(folder(), 'prompts.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  await writeFile(
    join(folder(), 'reward.mjs'),
    'export default ({ completion }) => [...completion].filter((c) => c === "a").length / 24;\n',
  );
});

it('writes the same rollouts and learns the same, whatever is killed', async () => {
  await run('--run-dir', 'whole', '--workers', '1', ...set(...grpo));
  const [first, second] = await hashesOf('whole');
  expect(second).toMatch(/^\w{16}$/);
  const metrics = await linesOf('whole', 'metrics.jsonl');
  const means = metrics.map((line) => line['means'] as Record<string, number>);
  for (const { reward, rewardStd, rolloutKl, length, ended } of means) {
    for (const number of [reward, rewardStd, rolloutKl, length, ended]) expect(number).toBeGreaterThanOrEqual(0);
  }
  // The reference is the model at the start.
  expect(means[0]!['rolloutKl']).toBeLessThan(1e-6);
  expect(means[11]!['rolloutKl']).toBeGreaterThan(1e-4);
  expect(means[8]!['reward']).toBe(means[11]!['reward']);
  const readable = await linesOf('whole', 'rollouts/iteration-000001.jsonl');
  expect(readable).toHaveLength(32);
  expect(readable[0]).toMatchObject({
    iteration: 1,
    member: 0,
    prompt: expect.stringContaining('say'),
    expected: 'abc',
  });
  expect(await readdir(join(folder(), 'whole', 'rollouts'))).toHaveLength(4);

  // A worker is lost during the first rollouts.
  const lost = start(['--run-dir', 'lost', '--workers', '2', ...set(...grpo)], folder());
  await until(async () => (await linesOf('lost', 'events.jsonl')).some(({ event }) => event === 'term'), lost.finished);
  const [victim] = await lost.descendants();
  process.kill(victim!, 'SIGKILL');
  expect((await lost.finished).code).toBe(0);
  expect((await hashesOf('lost'))[0]).toBe(first);
  expect((await linesOf('lost', 'events.jsonl')).some(({ event }) => event === 'lost')).toBe(true);

  // The coordinator is lost during the steps of the second iteration; its worker waits for the next one.
  const killed = start(['--run-dir', 'killed', '--workers', '1', ...set(...grpo)], folder());
  await until(
    async () => (await read('killed', 'journal.jsonl').catch(() => '')).toString().includes('"step":9,"tokens"'),
    killed.finished,
  );
  killed.process.kill('SIGKILL');
  await killed.finished;
  await run('--resume', 'killed');
  await expectSameEnd('killed', 'whole', 12);
  expect((await hashesOf('killed')).slice(0, 2)).toEqual([first, second]);

  // A run that ends within an iteration continues with its rollouts.
  await run('--run-dir', 'stopped', '--workers', '1', ...set(...grpo, 'train.maxSteps=10'));
  const path = join(folder(), 'stopped', 'rollouts', 'iteration-000002.safetensors');
  const rollouts = await readFile(path);
  await rm(path);
  const more = ['--resume', 'stopped', ...set('train.maxSteps=12')];
  const missing = await launch(more, folder());
  expect(missing.stderr).toContain('iteration-000002.safetensors is missing; step 10 is within iteration 2');
  expect(missing.code).toBe(2);
  await writeFile(path, rollouts);
  const changed = await launch(['--resume', 'stopped', ...set('task.group=2', 'task.prompts=16')], folder());
  expect(changed.stderr).toContain(
    'task.prompts was 8 and is 16: a run that learns from its own answers resumes with its own iterations',
  );
  await run(...more);
  await expectSameEnd('stopped', 'whole', 12);
});

nightlyIt(
  'PPO of given weights compares with them, also in workers that come later, and resumes within an iteration',
  async () => {
    const sft = ['task.kind=sft', 'task.template=plain', 'data.examples=prompts.jsonl', 'train.maxSteps=4'];
    const short = ['train.globalBatchSize=8', 'train.microBatchSize=4', 'eval.everySteps=0', 'sample.maxTokens=0'];
    await run('--run-dir', 'base', '--workers', '1', ...set(...model, ...sft, ...short, 'data.valFraction=0'));
    // The reward is that of a model.
    const pairs = ['abc', 'bcd', 'cde'].map((word) => ({ prompt: `say ${word}`, chosen: word, rejected: 'eee' }));
    await writeFile(join(folder(), 'pairs.jsonl'), pairs.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const preferences = ['task.kind=reward', 'task.template=plain', 'data.examples=pairs.jsonl', 'train.maxSteps=2'];
    await run(
      '--run-dir',
      'rm',
      '--workers',
      '1',
      '--init-from',
      'base',
      ...set(...preferences, ...short, 'data.valFraction=0'),
    );
    const ppo = (maxSteps: number) => [
      ...['--init-from', 'base', '--workers', '2'],
      ...set(...policy, 'task.kind=ppo', 'task.reward=rm', `train.maxSteps=${maxSteps}`),
    ];
    await run('--run-dir', 'ppo', ...ppo(20));
    const means = (await linesOf('ppo', 'metrics.jsonl')).map((line) => line['means'] as Record<string, number>);
    expect(means[0]!['rolloutKl']).toBeLessThan(1e-6);
    expect(means[19]!['rolloutKl']).toBeGreaterThan(1e-5);
    expect(means[0]!['rewardStd']).toBeGreaterThan(0);
    // The checkpoint of step 0 is gone by then, and all workers are new.
    await run('--run-dir', 'ppo2', ...ppo(12));
    await run('--resume', 'ppo2', ...set('train.maxSteps=20'));
    await expectSameEnd('ppo2', 'ppo', 20);
    await rm(join(folder(), 'ppo2', 'rollouts', 'reference.safetensors'));
    const { code, stderr } = await launch(['--resume', 'ppo2', ...set('train.maxSteps=24')], folder());
    expect(stderr).toContain('reference.safetensors is missing; it has the weights of the start of the run');
    expect(code).toBe(2);
  },
);

it('ends with the completion that a module cannot reward, and when the policy is too far from its start', async () => {
  const modules = {
    'nan.mjs': 'export default () => Number.NaN;\n',
    'throws.mjs': 'export default ({ completion }) => { throw new Error("no " + completion.length); };\n',
    'endless.mjs': 'export default () => { for (;;); };\n',
  };
  for (const [name, text] of Object.entries(modules)) await writeFile(join(folder(), name), text);
  const of = (name: string, ...more: string[]) =>
    launch(
      [
        '--run-dir',
        `bad-${name.replace(/\W.*/, '')}`,
        '--workers',
        '1',
        ...set(...grpo, `task.reward=${name}`, ...more),
      ],
      folder(),
    );
  const [nan, throws, endless, backtracking] = await Promise.all([
    of('nan.mjs'),
    of('throws.mjs'),
    of('endless.mjs', 'task.rewardTimeoutMs=300'),
    of('regex:^(?:(?:[^!]+)+)+!', 'task.rewardTimeoutMs=300'),
  ]);
  expect(nan.stderr).toMatch(
    /task\.reward: nan\.mjs returned NaN, expected a finite number, for the completion ".*" of prompts\.jsonl:\d+/,
  );
  expect(throws.stderr).toMatch(/task\.reward: throws\.mjs threw "no \d+" for the completion ".*" of prompts\.jsonl/);
  expect(endless.stderr).toMatch(
    /endless\.mjs did not return within 300 ms \(task\.rewardTimeoutMs\) for the completion/,
  );
  expect(backtracking.stderr).toContain(
    'the regular expression did not return within 300 ms (task.rewardTimeoutMs) for the completion',
  );
  expect([nan.code, throws.code, endless.code, backtracking.code]).toEqual([2, 2, 2, 2]);
  const far = await launch(['--run-dir', 'far', '--workers', '1', ...set(...grpo, 'task.klMax=0.00001')], folder());
  expect(far.stderr).toMatch(
    /the KL divergence of the policy from the reference is .* in iteration 2, above task\.klMax/,
  );
  expect(far.code).toBe(1);
  expect(existsSync(join(folder(), 'far', 'checkpoints', 'step-00000008'))).toBe(true);
});
