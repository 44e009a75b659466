/** Prompts and rollouts come back from batches as they were, and nothing else passes for them. */
import { expect, it } from 'vitest';
import { PeerError } from '../../../src/base/errors.ts';
import { promptBatch, promptsOf, rolloutBatch, rolloutsOf } from '../../../src/task/rolloutBatch.ts';
import type { Rollout } from '../../../src/task/rollouts.ts';

const limits = { blockSize: 8, vocabSize: 10, group: 2, maxTokens: 4, hasValues: true, endToken: 9 };
const prompts = [
  { index: 7, tokens: [1, 2, 3] },
  { index: 2, tokens: [9] },
];

function rollout(prompt: number, member: number, length: number): Rollout {
  const numbers = (scale: number) => Float32Array.from({ length }, (_, i) => -scale * (i + member + 1));
  return {
    prompt,
    member,
    tokens: Int32Array.from({ length }, (_, i) => (length < 4 && i === length - 1 ? 9 : i + member)),
    logprobs: numbers(0.5),
    reference: numbers(0.25),
    values: numbers(2),
    ended: length < 4,
  };
}

const rollouts = [rollout(7, 0, 4), rollout(7, 1, 1), rollout(2, 0, 2), rollout(2, 1, 3)];

it('prompts and rollouts come back', () => {
  expect(promptsOf(promptBatch(prompts), limits)).toEqual(prompts);
  expect(rolloutsOf(rolloutBatch(rollouts), prompts, limits)).toEqual(rollouts);
  const plain = rollouts.map(({ values: _, ...rest }) => rest);
  expect(rolloutsOf(rolloutBatch(plain), prompts, { ...limits, hasValues: false })).toEqual(plain);
});

it.each([
  [
    'other prompts',
    [...rollouts.slice(2), ...rollouts.slice(0, 2)],
    'expected completion 0 of prompt 7, received 0 of 2',
  ],
  ['too few', rollouts.slice(0, 3), 'expected 4 rollouts, received 3'],
  ['too long', [rollout(7, 0, 5), ...rollouts.slice(1)], 'length: expected numbers from 1 to 4, received 5'],
  [
    'an unknown token',
    withFirst({ tokens: Int32Array.of(10, 0, 0, 0) }),
    'tokens: expected numbers from 0 to 9, received 10',
  ],
  ['a probability above 1', withFirst({ logprobs: Float32Array.of(0.5, 0, 0, 0) }), 'logprobs: expected numbers from'],
  [
    'an end without its token',
    withFirst({ ended: true }),
    'completion 0 of prompt 7: expected the end token last, as the completion ended',
  ],
  ['a hidden end', withFirst({ tokens: Int32Array.of(0, 1, 2, 9) }), 'expected no end token, as it did not end'],
  [
    'tokens after the end',
    withFirst({ tokens: Int32Array.of(0, 9, 2, 9), ended: true }),
    'expected nothing after the end token, received 4 tokens',
  ],
  ['no number', withFirst({ values: Float32Array.of(Number.NaN, 0, 0, 0) }), 'values: expected numbers from'],
])('refuses %s', (_, given, message) => {
  expect(() => rolloutsOf(rolloutBatch(given), prompts, limits)).toThrow(PeerError);
  expect(() => rolloutsOf(rolloutBatch(given), prompts, limits)).toThrow(message);
});

it('refuses a completion that does not fit in the context after its prompt', () => {
  const batch = rolloutBatch(rollouts.slice(0, 2));
  const asked = (length: number) => [{ index: 7, tokens: Array<number>(length).fill(1) }];
  // The last token of a completion is only a target.
  expect(rolloutsOf(batch, asked(5), limits)).toEqual(rollouts.slice(0, 2));
  expect(() => rolloutsOf(batch, asked(6), limits)).toThrow(PeerError);
  expect(() => rolloutsOf(batch, asked(6), limits)).toThrow(
    'expected at most 3 tokens after a prompt of 6, received 4',
  );
  const endless = rollouts.slice(0, 2).map((given) => ({ ...given, ended: false }));
  expect(rolloutsOf(rolloutBatch(endless), asked(5), { ...limits, endToken: undefined })).toEqual(endless);
});

it('refuses a length beyond the padding', () => {
  const batch = rolloutBatch(rollouts.slice(1, 3));
  batch.arrays['length']!.data[0] = 3;
  expect(() => rolloutsOf(batch, [{ index: 7, tokens: [1] }], { ...limits, group: 2 })).toThrow(/expected/);
  const asked = promptBatch(prompts);
  asked.arrays['length']!.data[1] = 4;
  expect(() => promptsOf(asked, limits)).toThrow('expected at most 3 tokens, received a length of 4');
});

function withFirst(changes: Partial<Rollout>): Rollout[] {
  return [{ ...rollouts[0]!, ...changes }, ...rollouts.slice(1)];
}
