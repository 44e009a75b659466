/** What the coordinator does when its reward thread is late, or has ended. */
import { afterEach, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { parseConfig } from '../../../src/config/load.ts';
import type { JudgedCompletion } from '../../../src/coordinator/rollouts/judgedCompletions.ts';
import { openJudge } from '../../../src/run/judge.ts';
import { temporaryFolder } from '../checkpoint/tinyCheckpoint.ts';
import { FakeRewardThread } from './fakeRewardThread.ts';

const completions = ['aaaa', 'b'].map((text, i): JudgedCompletion => {
  const messages = [{ role: 'user' as const, content: 'say a' }];
  return {
    prompt: { at: `rows:${i + 1}`, tokens: [1], messages, expected: undefined },
    tokens: Int32Array.of(1),
    text,
    ended: true,
  };
});

function opened(reward: string, timeoutMs = 50) {
  const overrides = [`task.reward=${reward}`, `task.rewardTimeoutMs=${timeoutMs}`];
  return openJudge(
    parseConfig({ text: '', name: 'my.yaml', overrides }),
    '/',
    (source) => new FakeRewardThread(source),
  ); // a thread needs built modules
}

afterEach(() => {
  FakeRewardThread.newest = undefined;
  FakeRewardThread.answering = () => undefined;
});

it('a regular expression is tested in the thread, for a limited time', async () => {
  const { judge } = await opened('regex:^(a|aa)+$');
  const thread = FakeRewardThread.newest!;
  expect(thread.source).toEqual({ kind: 'regex', pattern: '^(a|aa)+$' });
  FakeRewardThread.answering = (_, { inputs }) => Number(inputs[0]!.completion === 'b');
  expect(await judge(completions)).toEqual([0, 1]);
  FakeRewardThread.answering = (_, { inputs }) => (inputs[0]!.completion === 'b' ? undefined : 1);
  const late = judge(completions);
  await expect(late).rejects.toThrow(UserError);
  await expect(late).rejects.toThrow(
    'task.reward: the regular expression did not return within 50 ms (task.rewardTimeoutMs) for the completion "b" of rows:2',
  );
  expect(thread.isEnded).toBe(true);
});

it('a pattern that is not one starts no thread', async () => {
  await expect(opened('regex:(')).rejects.toThrow('task.reward: Invalid regular expression');
  expect(FakeRewardThread.newest).toBeUndefined();
});

it('a thread that has ended by itself fails the request that waits and those that follow, at once', async () => {
  const { judge } = await opened('regex:a', 60_000);
  FakeRewardThread.answering = (thread) => void thread.end();
  for (let request = 0; request < 2; request++) {
    await expect(judge(completions)).rejects.toThrow('the reward thread has ended');
  }
});

it('a reward model that has failed fails later requests, which have no time limit, with its error', async () => {
  const folder = temporaryFolder();
  const { judge } = await opened(folder);
  expect(FakeRewardThread.newest!.source).toMatchObject({ kind: 'model', path: folder });
  FakeRewardThread.newest!.emit('error', new Error('out of memory'));
  FakeRewardThread.newest!.end();
  await expect(judge(completions)).rejects.toThrow('out of memory');
});
