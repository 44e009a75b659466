/** The bound on the size of rollouts is exact, and what it allows is a message that the coordinator reads. */
import { expect, it } from 'vitest';
import { encodeBatch } from '../../../src/comm/batchPayload.ts';
import { defaultLinkOptions } from '../../../src/comm/link.ts';
import { clientMessageBytes } from '../../../src/comm/zmqSocket.ts';
import { rolloutBatch } from '../../../src/task/rolloutBatch.ts';
import { promptRolloutBytes, rolloutBytesMax } from '../../../src/task/rolloutSize.ts';

it.each(['grpo', 'ppo'])('is that of the longest completions: %s', (kind) => {
  const numbers = new Float32Array(5);
  const rollouts = [0, 1, 2].map((member) => ({
    prompt: 0,
    member,
    tokens: new Int32Array(5),
    logprobs: numbers,
    reference: numbers,
    ...(kind === 'ppo' && { values: numbers }),
    ended: false,
  }));
  const { payload } = encodeBatch(rolloutBatch(rollouts));
  expect(promptRolloutBytes({ kind, group: 3, maxTokens: 5 }, 16)).toBe(payload.byteLength);
  expect(promptRolloutBytes({ kind, group: 3, maxTokens: 100 }, 5)).toBe(payload.byteLength);
});

it('leaves room for encryption', () => {
  expect(rolloutBytesMax + 1024).toBeLessThan(clientMessageBytes(defaultLinkOptions.maxMessageBytes));
});
