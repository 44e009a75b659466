import { expect, it } from 'vitest';
import { prepareRun } from '../../../src/run/prepareRun.ts';

it.each([
  ['resume beside initFrom', { resume: '', initFrom: 'gpt2' }, /omit config, runDir and initFrom/],
  [
    'two values of one key',
    { set: ['train.maxSteps=5', 'train.maxSteps=6'] },
    /overrides: train.maxSteps=5 and overrides: train.maxSteps=6 give/,
  ],
  [
    'a key beside its option',
    { set: ['train.workers=2'], workers: 3 },
    /overrides: train.workers=2 and workers 3 give train.workers two values/,
  ],
  [
    'a policy without weights, whose prompts do not fit into the context by default',
    { config: 'grpo', set: ['engine.name=native'] },
    /task\.kind: grpo is for trained weights, .* initFrom runs\/sft/,
  ],
  ['a text beside shards', { set: ['data.text=a.txt', 'data.shards=b'] }, /trains on one of them/],
])('refuses %s', async (_, args, message) => {
  const messages = { note: () => {}, warn: () => {}, progress: () => () => {} };
  await expect(
    prepareRun({ encrypt: true, singleProcess: true, dryRun: true, ...args }, '/', messages),
  ).rejects.toThrow(message);
});
