import { expect, it } from 'vitest';
import { tokenLogprobs } from '../../../src/model/logprobs.ts';

it('are logarithms of a softmax, the likeliest first, of equals the lower token', () => {
  const logits = Float32Array.of(1, 3, -2, 3, 1000 / 1024);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
  const { token, logprob, top } = tokenLogprobs(logits, 2, 3);
  expect(token).toBe(2);
  expect(logprob).toBeCloseTo(Math.log(Math.exp(-2) / sum), 6);
  expect(top.map((each) => each.token)).toEqual([1, 3, 0]);
  expect(top[0]!.logprob).toBeCloseTo(Math.log(Math.exp(3) / sum), 6);
  expect(tokenLogprobs(Float32Array.of(900, -900), 1, 0)).toEqual({ token: 1, logprob: -1800, top: [] });
});
