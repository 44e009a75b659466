/** Advantages and returns against their definitions, and the rows that they come in. */
import { describe, expect, it } from 'vitest';
import { type AdvantageOptions, k3, policyRows, type RewardedRollout } from '../../../src/task/advantages.ts';

const grpo: AdvantageOptions = {
  kind: 'grpo',
  group: 4,
  beta: 0.1,
  gamma: 0.9,
  gaeLambda: 0.8,
  scaleAdvantages: true,
};

function rollout(member: number, reward: number, changes: Partial<RewardedRollout> = {}): RewardedRollout {
  return {
    prompt: 7,
    member,
    promptTokens: [1, 2, 3],
    tokens: Int32Array.of(4, 5, 6),
    logprobs: Float32Array.of(-1, -2, -3),
    reference: Float32Array.of(-1.5, -2, -2.5),
    ended: true,
    reward,
    ...changes,
  };
}

const group = [1, 0, 0, 3].map((reward, member) => rollout(member, reward));

describe('advantages', () => {
  it('of GRPO are rewards in units of the standard deviation of their group, as in TRL', () => {
    const { samples } = policyRows(group, grpo);
    // torch.tensor([1., 0., 0., 3.]): mean 1, std 1.4142
    const expected = [0, -1, -1, 2].map((each) => each / (Math.SQRT2 + 1e-4));
    for (const [i, { advantages }] of samples.entries()) {
      expect([...Array.from(advantages!)].map((each) => each.toFixed(6))).toEqual(
        [0, 0, expected[i]!, expected[i]!, expected[i]!].map((each) => each.toFixed(6)),
      );
    }
  });

  it('without a scale compare a reward with the mean of the others', () => {
    const { samples } = policyRows(group, { ...grpo, scaleAdvantages: false });
    expect(samples.map(({ advantages }) => advantages![2])).toEqual(
      [1 - 3 / 3, -4 / 3, -4 / 3, 3 - 1 / 3].map(Math.fround),
    );
  });

  it('are 0 where all rewards of a group are equal, which the summary counts', () => {
    const equal = [2, 2, 2, 2].map((reward, member) => rollout(member, reward));
    const { samples, summary } = policyRows([...group, ...equal], grpo);
    expect(samples.slice(4).every(({ advantages }) => Array.from(advantages!).every((each) => each === 0))).toBe(true);
    expect(summary).toMatchObject({ completions: 8, reward: 1.5, equalGroups: 0.5, length: 3, ended: 1 });
    const divergence = (k3(-1, -1.5) + k3(-3, -2.5)) / 3;
    expect(summary.kl).toBeCloseTo(divergence, 12);
  });

  it('come with a finite divergence, also from a reference that is far away', () => {
    const far = group.map((each) => ({ ...each, logprobs: each.logprobs.map(() => -900) }));
    const { kl } = policyRows(far, grpo).summary;
    expect(kl).toBeGreaterThan(1e40);
    expect(kl * 1e9).toBeLessThan(Number.MAX_VALUE);
  });

  it('of PPO are the weighted sums of all later surprises, and returns their sums with the values', () => {
    const values = Float32Array.of(0.5, 0.25, 1);
    const options: AdvantageOptions = { ...grpo, kind: 'ppo', group: 1, scaleAdvantages: false };
    const { samples } = policyRows([rollout(0, 2, { values })], options);
    const gains = [-0.1 * 0.5, 0, 2 - 0.1 * -0.5];
    const surprises = gains.map((gain, t) => gain + 0.9 * (values[t + 1] ?? 0) - values[t]!);
    const expected = surprises.map((_, t) =>
      surprises.slice(t).reduce((sum, surprise, later) => sum + (0.9 * 0.8) ** later * surprise, 0),
    );
    for (const t of [0, 1, 2]) {
      expect(samples[0]!['advantages']![2 + t]).toBeCloseTo(expected[t]!, 6);
      expect(samples[0]!['returns']![2 + t]).toBeCloseTo(expected[t]! + values[t]!, 6);
    }
    // With λ and γ of 1 the return is the sum of all later rewards.
    const [sample] = policyRows([rollout(0, 2, { values })], { ...options, gamma: 1, gaeLambda: 1 }).samples;
    expect(sample!['returns']![2]).toBeCloseTo(
      gains.reduce((a, b) => a + b),
      6,
    );
  });

  it('of PPO have mean 0 and standard deviation 1 over the iteration if they are scaled', () => {
    const values = Float32Array.of(0.5, 0.25, 1);
    const rollouts = [1, 2, 4].map((reward, member) => rollout(member, reward, { values }));
    const { samples } = policyRows(rollouts, { ...grpo, kind: 'ppo', group: 3 });
    const all = samples.flatMap(({ advantages }) => Array.from(advantages!).slice(2));
    const mean = all.reduce((a, b) => a + b) / all.length;
    expect(mean).toBeCloseTo(0, 6);
    expect(Math.sqrt(all.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (all.length - 1))).toBeCloseTo(1, 3);
  });

  it('come in rows whose targets are the completion', () => {
    const [sample] = policyRows(group, grpo).samples;
    expect(sample).toMatchObject({
      tokens: Int32Array.of(1, 2, 3, 4, 5),
      targets: Int32Array.of(-1, -1, 4, 5, 6),
      logprobs: Float32Array.of(0, 0, -1, -2, -3),
      reference: Float32Array.of(0, 0, -1.5, -2, -2.5),
    });
    expect(sample).not.toHaveProperty('returns');
  });

  it('name a reward that is not finite', () => {
    const broken = [...group.slice(0, 3), rollout(3, Number.NaN)];
    expect(() => policyRows(broken, grpo)).toThrow('the reward of completion 3 of prompt 7 is NaN');
  });
});
