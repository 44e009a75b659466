import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, onTestFinished, vi } from 'vitest';
import { forwardFlops } from '../../../src/architecture/work.ts';
import { describeRolloutTime } from '../../../src/cli/estimate.ts';
import { printPlan } from '../../../src/cli/plan.ts';
import { rolloutPlan } from '../../../src/cli/rolloutPlan.ts';
import type { ConfigInput } from '../../../src/config/configTypes.ts';
import { modelOf } from '../../../src/config/groups/model.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { promptData } from '../../../src/data/examples/promptData.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { promptReader } from '../../../src/task/prompts.ts';
import { builtInTemplate } from '../../../src/task/template.ts';

afterEach(() => vi.restoreAllMocks());

const prompts = [10, 30].map((length) => ({ at: '', tokens: new Array(length).fill(1), messages: [], expected: '' }));
const data = { vocabSize: 100, prompts: { prompts, endToken: 0 } };

function configOf(task: NonNullable<ConfigInput['task']>) {
  return configSchema.parse({
    data: { examples: 'builtin' },
    eval: { everySteps: 0 },
    model: { nLayer: 2, nHead: 2, nEmbd: 32, blockSize: 64 },
    train: { globalBatchSize: 16, microBatchSize: 4, maxSteps: 21 },
    task: { kind: 'grpo', prompts: 16, group: 2, maxTokens: 40, ...task },
  });
}

it('says how many rollouts a run has, and how much is drawn together', () => {
  const plan = rolloutPlan(configOf({ inner: 2 }), data);
  expect(plan).toMatchObject({
    iterations: 6, // the last one is not complete
    description:
      '6 iterations, each with 32 answers of at most 40 tokens (16 prompts, 2 answers to each), then 4 steps',
    drawn: { count: 4, tokens: 64 }, // 2 prompts in a part, so that it has 8 parts
  });
  expect(rolloutPlan(configOf({ group: 16 }), data)!.drawn.count).toBe(16);
  expect(rolloutPlan(configOf({}), { vocabSize: 100 })).toBeUndefined();
});

it('counts the tokens that are drawn, and the passes over complete texts', () => {
  const config = configOf({});
  const network = modelOf(config.model, 100);
  const { drawing, passes } = rolloutPlan(config, data)!.flops;
  const work = (tokens: number, length: number) => forwardFlops(network, tokens, length);
  const answers = 11 * 32; // to each of the two prompts, one half
  expect(drawing / ((answers / 2) * (work(40, 30) + work(34, 47)))).toBeCloseTo(1, 12);
  expect(passes / ((answers / 2) * (work(10, 10) + work(30, 30) + 2 * work(64, 64)))).toBeCloseTo(1, 12);
  // The value head of PPO takes one more pass.
  const ppo = rolloutPlan(configOf({ kind: 'ppo' }), data)!.flops;
  expect((ppo.passes - passes) / (answers * work(64, 64))).toBeCloseTo(1, 12);
});

it('gives the time as a range', () => {
  const plan = { ...rolloutPlan(configOf({}), data)!, iterations: 10, flops: { drawing: 6e11, passes: 3e12 } };
  expect(describeRolloutTime(plan, 100e9)).toBe(
    'rollouts: 1:40 to 15:50 more, 10 to 95 s per iteration, if all answers have the maximum length; without rewards',
  );
});

it('is in the output of --dry-run', async () => {
  const written = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  const config = configOf({});
  const tokenizer = await createTokenizer('byte', '');
  const reader = promptReader({ tokenizer, template: builtInTemplate('plain', {}) });
  const { task, model } = config;
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'prompts.jsonl'), '{"prompt": "1 + 1 ="}\n'.repeat(task.prompts));
  const examples = await promptData({
    ...task,
    kind: 'grpo',
    blockSize: model.blockSize,
    vocabSize: 0,
    data: { ...config.data, examples: 'prompts.jsonl' },
    cwd: folder,
    onNotice: () => undefined,
    readerFor: async () => ({ reader, tokenizer }),
  });
  await printPlan(config, examples);
  const lines = written.mock.calls.map(([line]) => String(line)).join('');
  expect(lines).toMatch(/^rollouts {5}11 iterations, each with 32 answers /m);
  expect(lines).toMatch(/^time {9}estimated .*\n {13}rollouts: \d+:\d\d to \d+:\d\d more, /m);
  expect(lines).toMatch(/^ {2}reference {6}\d/m);
  expect(lines).toMatch(/^ {2}of rollouts {4}128.0 KiB at most for the keys and values of 4 answers/m);
});
