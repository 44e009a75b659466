/**
 * From the rewards of rollouts to what a policy learns from them: an advantage for each token, and for PPO the return that its value
 * should have predicted. Pure; in float64.
 *
 * Sources: "DeepSeekMath" (Shao et al., 2024, https://arxiv.org/abs/2402.03300) for groups, "High-Dimensional Continuous Control Using
 * Generalized Advantage Estimation" (Schulman et al., 2015, https://arxiv.org/abs/1506.02438) for values.
 */
import { invariant, UserError } from '../base/errors.ts';
import type { Rollout } from './rollouts.ts';
import type { Sample } from './task.ts';

/** A rollout, its prompt and its reward. */
export interface RewardedRollout extends Rollout {
  readonly promptTokens: ArrayLike<number>;
  readonly reward: number;
}

/** How advantages are computed: keys of `task`. */
export interface AdvantageOptions {
  readonly kind: 'grpo' | 'ppo';
  /** The number of completions of each prompt; for GRPO at least 2. */
  readonly group: number;
  /** The weight of the divergence from the reference, which PPO subtracts from the rewards of tokens. */
  readonly beta: number;
  readonly gamma: number;
  readonly gaeLambda: number;
  /** Whether advantages are divided by a standard deviation: of the group's rewards, or for PPO of all advantages. */
  readonly scaleAdvantages: boolean;
}

/** Numbers of an iteration for people: means over its completions, except where a token is named. */
export interface RolloutSummary {
  readonly completions: number;
  readonly reward: number;
  /** The standard deviation of the rewards. */
  readonly rewardStd: number;
  /** Tokens of a completion. */
  readonly length: number;
  /** The fraction of completions that the model ended. */
  readonly ended: number;
  /** The estimate k3 of the divergence from the reference, per token. */
  readonly kl: number;
  /** The fraction of groups whose rewards are all equal, from which GRPO learns nothing but to stay near the reference. */
  readonly equalGroups: number;
}

/** What a step learns from. */
export interface PolicyRows {
  /** One sample for each rollout, in their order; the arrays are those of policyRows.ts. */
  readonly samples: readonly Sample[];
  readonly summary: RolloutSummary;
}

/** Keeps a group with nearly equal rewards from having huge advantages. */
const stdFloor = 1e-4;

/**
 * The samples of an iteration.
 * @param rollouts complete groups: `group` rollouts of a prompt follow one another
 * @throws UserError for a reward that is not finite
 */
export function policyRows(rollouts: readonly RewardedRollout[], options: AdvantageOptions): PolicyRows {
  const { kind, group } = options;
  invariant(rollouts.length > 0 && rollouts.length % group === 0, `expected complete groups of ${group} rollouts`);
  for (const { reward, prompt, member } of rollouts) {
    if (!Number.isFinite(reward)) {
      throw new UserError(
        `the reward of completion ${member} of prompt ${prompt} is ${reward}: expected a finite number`,
      );
    }
  }
  const groups = groupsOf(rollouts, group);
  const rows =
    kind === 'grpo'
      ? groups.flatMap((members) => groupRows(members, options))
      : whitened(
          rollouts.map((rollout) => estimated(rollout, options)),
          options,
        );
  return { samples: rows.map((row, i) => sampleOf(rollouts[i]!, row)), summary: summaryOf(rollouts, groups) };
}

/** What one completion learns from, [L] each. */
interface TokenNumbers {
  readonly advantages: Float64Array;
  /** PPO. */
  readonly returns?: Float64Array;
}

function groupsOf(rollouts: readonly RewardedRollout[], group: number): RewardedRollout[][] {
  return Array.from({ length: rollouts.length / group }, (_, index) => {
    const members = rollouts.slice(index * group, (index + 1) * group);
    invariant(
      members.every(({ prompt }) => prompt === members[0]!.prompt),
      'the rollouts of a group have one prompt',
    );
    return members;
  });
}

/**
 * GRPO: how much better than its group a completion is, the same for each of its tokens. Without a scale it is compared with the others
 * of the group: compared with the mean of all, its gradient would be smaller by 1/G, and β would seem larger.
 */
function groupRows(members: readonly RewardedRollout[], { scaleAdvantages }: AdvantageOptions): TokenNumbers[] {
  const rewards = members.map(({ reward }) => reward);
  const mean = meanOf(rewards);
  const G = members.length;
  const scale = scaleAdvantages ? 1 / (deviation(rewards) + stdFloor) : G / (G - 1);
  return members.map(({ reward, tokens }) => ({
    advantages: new Float64Array(tokens.length).fill((reward - mean) * scale),
  }));
}

/** PPO: generalised advantage estimation. The reward comes with the last token, after which the value is 0. */
function estimated(rollout: RewardedRollout, { beta, gamma, gaeLambda }: AdvantageOptions): TokenNumbers {
  const { tokens, values, logprobs, reference, reward } = rollout;
  invariant(values !== undefined, 'rollouts of PPO have values');
  const L = tokens.length;
  const [advantages, returns] = [new Float64Array(L), new Float64Array(L)];
  let [next, after] = [0, 0];
  for (let t = L - 1; t >= 0; t--) {
    const gain = (t === L - 1 ? reward : 0) - beta * (logprobs[t]! - reference[t]!);
    const surprise = gain + gamma * after - values[t]!;
    next = surprise + gamma * gaeLambda * next;
    after = values[t]!;
    advantages[t] = next;
    returns[t] = next + values[t]!;
  }
  return { advantages, returns };
}

/** Advantages with mean 0 and standard deviation 1 over all tokens. */
function whitened(rows: readonly TokenNumbers[], { scaleAdvantages }: AdvantageOptions): TokenNumbers[] {
  const all = rows.flatMap(({ advantages }) => [...advantages]);
  if (!scaleAdvantages || all.length < 2) return [...rows];
  const [mean, scale] = [meanOf(all), 1 / (deviation(all) + stdFloor)];
  return rows.map((row) => ({ ...row, advantages: row.advantages.map((advantage) => (advantage - mean) * scale) }));
}

/** The prompt and the completion in one row; only tokens of the completion are targets. */
function sampleOf(rollout: RewardedRollout, { advantages, returns }: TokenNumbers): Sample {
  const { promptTokens, tokens, logprobs, reference, values } = rollout;
  const context = promptTokens.length - 1;
  invariant(context >= 0 && tokens.length > 0, 'a rollout has a prompt and at least one token');
  const shifted = (numbers: ArrayLike<number>) => {
    const row = new Float32Array(context + tokens.length);
    row.set(numbers, context);
    return row;
  };
  return {
    tokens: Int32Array.from([...Array.from(promptTokens), ...tokens.subarray(0, -1)]),
    targets: Int32Array.from([...Array<number>(context).fill(-1), ...tokens]),
    advantages: shifted(advantages),
    logprobs: shifted(logprobs),
    reference: shifted(reference),
    ...(values && returns && { values: shifted(values), returns: shifted(returns) }),
  };
}

function summaryOf(rollouts: readonly RewardedRollout[], groups: readonly RewardedRollout[][]): RolloutSummary {
  const rewards = rollouts.map(({ reward }) => reward);
  const tokens = rollouts.reduce((sum, rollout) => sum + rollout.tokens.length, 0);
  const divergence = rollouts.reduce((sum, { logprobs, reference }) => {
    return logprobs.reduce((total, logprob, t) => total + k3(logprob, reference[t]!), sum);
  }, 0);
  const share = (count: number, of: number) => count / of;
  return {
    completions: rollouts.length,
    reward: meanOf(rewards),
    rewardStd: deviation(rewards),
    length: share(tokens, rollouts.length),
    ended: share(rollouts.filter(({ ended }) => ended).length, rollouts.length),
    kl: share(divergence, tokens),
    equalGroups: share(
      groups.filter((members) => members.every(({ reward }) => reward === members[0]!.reward)).length,
      groups.length,
    ),
  };
}

/** In nats. Far more than any model that still learns, and far from the end of float64. */
const differenceMax = 100;

/**
 * The estimate k3 of KL(π‖π_ref) from a token that π drew: π_ref/π - 1 - log(π_ref/π), never negative
 * (Schulman, "Approximating KL Divergence", 2020, http://joschu.net/blog/kl-approx.html). It is finite, and so are sums of it: a ratio
 * π_ref/π counts as at most e^100.
 */
export function k3(logprob: number, reference: number): number {
  const difference = reference - logprob;
  return Math.expm1(Math.min(difference, differenceMax)) - difference;
}

function meanOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

/** The standard deviation of a sample, as torch.std: divided by one less than its size. */
function deviation(numbers: readonly number[]): number {
  if (numbers.length < 2) return 0;
  const mean = meanOf(numbers);
  return Math.sqrt(numbers.reduce((sum, number) => sum + (number - mean) ** 2, 0) / (numbers.length - 1));
}
