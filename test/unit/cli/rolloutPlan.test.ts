import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, onTestFinished, vi } from 'vitest';
import { architectures } from '../../../src/architecture/registry.ts';
import { describeRolloutTime } from '../../../src/cli/estimate.ts';
import { printPlan } from '../../../src/cli/plan.ts';
import { rolloutPlan } from '../../../src/cli/rolloutPlan.ts';
import type { ConfigInput } from '../../../src/config/configTypes.ts';
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
  const { drawing, passes } = rolloutPlan(configOf({}), data)!.flops;
  // 2 layers with 12 · 32² weights in products, and the table of 100 tokens: 2 for each. Attention in both layers: 4 · 32 for each key.
  const weights = 2 * (2 * 12 * 1024 + 100 * 32);
  const attention = 2 * 4 * 32;
  const answers = 11 * 32; // to each of the two prompts, one half
  // 40 tokens behind 10, and 34 behind 30: a token attends to all before it.
  const drawn = 40 * (weights + attention * 30) + 34 * (weights + attention * 47);
  expect(drawing / ((answers / 2) * drawn)).toBeCloseTo(1, 12);
  // In a complete text, a token attends to half of it on average.
  const text = (length: number) => length * (weights + (attention * length) / 2);
  expect(passes / ((answers / 2) * (text(10) + text(30) + 2 * text(64)))).toBeCloseTo(1, 12);
  // The value head of PPO takes one more pass.
  const ppo = rolloutPlan(configOf({ kind: 'ppo' }), data)!.flops;
  expect((ppo.passes - passes) / (answers * text(64))).toBeCloseTo(1, 12);
});

it('declares the network once, however many prompts there are', () => {
  const declared = vi.spyOn(architectures[0]!, 'network');
  const [prompt] = prompts;
  rolloutPlan(configOf({}), { vocabSize: 100, prompts: { prompts: new Array(1000).fill(prompt), endToken: 0 } });
  expect(declared).toHaveBeenCalledTimes(1);
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
    hasWeights: true,
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
