/**
 * Policy gradients on rollouts: GRPO (Shao et al., 2024, https://arxiv.org/abs/2402.03300) and PPO (Schulman et al., 2017,
 * https://arxiv.org/abs/1707.06347; its values as in https://github.com/openai/baselines, ppo2). A rollout was drawn by an earlier state
 * of the model; ρ is the probability of a token now, divided by that of then.
 *
 * - policy: -min(ρ · A, clip(ρ, 1 - ε, 1 + ε) · A), with the advantage A
 * - GRPO adds β · ρ · k3, where k3 estimates KL(π‖π_ref). Without the factor ρ, which is 1 in the first step of an iteration, its gradient
 *   would be that of KL(π_ref‖π); with it the slope is β · ρ · log(π/π_ref). PPO has this divergence in its rewards.
 * - PPO adds c · ½ · max((V - R)², (V_clipped - R)²), where V_clipped is at most `valueClip` from the value at the time of the rollout
 *
 * A loss is a mean over targets, whose number in a step is known before. Everything after the passes is computed on the host in float64.
 */
import { generationProblem, type ModelConfig } from '../../architecture/registry.ts';
import type { Batch } from '../../base/batch.ts';
import { k3 } from '../../task/advantages.ts';
import { asTokenBatch, targetsOf } from '../../task/nextToken.ts';
import { policyArray, policyFields } from '../../task/policyBatch.ts';
import type { ForwardOptions, Model } from '../model.ts';
import type { Seed } from '../recording.ts';
import type { Tape } from '../tape.ts';
import type { Variable } from '../variable.ts';
import type { Objective, PassSums } from './objective.ts';

/** Keys of `task`. */
export interface PolicyKeys {
  /** ε: how far from 1 a ratio may move in the direction of its advantage. */
  readonly clip: number;
  /** β of GRPO. */
  readonly beta: number;
  /** PPO: how far a value may move in an iteration; 0 does not limit it. */
  readonly valueClip: number;
  /** PPO: c, the weight of the loss of values. */
  readonly valueCoefficient: number;
}

/** GRPO. Its sums are those of {@link PolicySums}. */
export function grpo({ clip, beta }: PolicyKeys): Objective {
  return policyObjective('grpo', { clip, beta });
}

/** PPO, for a model with a value head. Adds the sum `valueLoss`, without its coefficient. */
export function ppo({ clip, valueClip, valueCoefficient }: PolicyKeys): Objective {
  return policyObjective('ppo', { clip, beta: 0, values: { valueClip, valueCoefficient } });
}

interface PolicyLoss {
  readonly clip: number;
  readonly beta: number;
  /** Absent without a value head. */
  readonly values?: Pick<PolicyKeys, 'valueClip' | 'valueCoefficient'>;
}

/** Sums over targets, besides those of every objective. */
type PolicySums = {
  weight: number;
  loss: number;
  /** The estimate k3 of KL(π‖π_ref). */
  kl: number;
  /** 1 where the ratio is clipped. */
  clipped: number;
  ratio: number;
  /** An estimate of the entropy: -log π. */
  entropy: number;
  valueLoss?: number;
};

function policyObjective(name: 'grpo' | 'ppo', loss: PolicyLoss): Objective {
  return {
    name,
    modelProblem: (model) => modelProblem(name, model),
    fields: (model) => policyFields(name, model),

    async step(tape, model, batch, { scale, activationRecompute, onForward, onGradReady }) {
      const outputs = forward(tape, model, batch, loss, { training: true, activationRecompute });
      const { sums, slopes } = await judge(tape, outputs, batch, loss);
      await onForward?.();
      const seed = (of: Variable | undefined, numbers: Float64Array | undefined): Seed[] => {
        if (of === undefined || numbers === undefined) return [];
        return [
          {
            of,
            grad: tape.upload(
              Float32Array.from(numbers, (slope) => scale * slope),
              of.shape,
            ),
          },
        ];
      };
      const seeds = [...seed(outputs.losses, slopes.losses), ...seed(outputs.values, slopes.values)];
      tape.backward(seeds, onGradReady);
      return sums;
    },

    async evaluate(tape, model, batch) {
      return (await judge(tape, forward(tape, model, batch, loss, {}), batch, loss)).sums;
    },
  };
}

function modelProblem(name: 'grpo' | 'ppo', model: ModelConfig): string | undefined {
  const { dropout = 0, valueHead = false } = model as { dropout?: number; valueHead?: boolean };
  if (dropout > 0) return `has dropout ${dropout}: expected 0, because rollouts are drawn without dropout`;
  if (name === 'ppo' && !valueHead) return 'has no value head: expected model.valueHead true';
  return generationProblem(model);
}

interface Outputs {
  /** [B·T]: negative log probabilities. */
  readonly losses: Variable;
  /** [B, T, 1]. */
  readonly values?: Variable;
}

function forward(tape: Tape, model: Model, batch: Batch, { values }: PolicyLoss, options: ForwardOptions): Outputs {
  const { sampleCount: B, arrays } = asTokenBatch(batch);
  const tokens = tape.upload(arrays.tokens.data, [B, ...arrays.tokens.shape]); // (B, T)
  const targets = tape.upload(arrays.targets.data, [arrays.targets.data.length]); // (N)
  return values === undefined
    ? { losses: model.losses(tape, tokens, targets, options) }
    : model.lossesAndValues(tape, tokens, targets, options);
}

/** The sums over the targets, and the derivatives of their losses by both outputs. */
async function judge(
  tape: Tape,
  outputs: Outputs,
  batch: Batch,
  loss: PolicyLoss,
): Promise<{ sums: PassSums; slopes: { losses: Float64Array; values?: Float64Array } }> {
  const losses = await tape.read(outputs.losses);
  const slopes = { losses: new Float64Array(losses.length) };
  const sums: PolicySums = { weight: targetsOf(batch), loss: 0, kl: 0, clipped: 0, ratio: 0, entropy: 0 };
  const { data: targets } = asTokenBatch(batch).arrays.targets;
  const [old, reference] = [policyArray(batch, 'logprobs'), policyArray(batch, 'reference')];
  const advantages = policyArray(batch, 'advantages');
  for (const [n, target] of targets.entries()) {
    if (target < 0) continue;
    const logprob = -losses[n]!;
    const token = tokenLoss({ logprob, old: old[n]!, reference: reference[n]!, advantage: advantages[n]! }, loss);
    slopes.losses[n] = -token.slope;
    sums.loss += token.loss;
    sums.kl += k3(logprob, reference[n]!);
    sums.clipped += Number(token.isClipped);
    sums.ratio += token.ratio;
    sums.entropy -= logprob;
  }
  if (outputs.values === undefined || loss.values === undefined) return { sums, slopes };
  const values = judgeValues(await tape.read(outputs.values), batch, loss.values);
  const { valueCoefficient } = loss.values;
  const total = { ...sums, loss: sums.loss + valueCoefficient * values.loss, valueLoss: values.loss };
  return { sums: total, slopes: { ...slopes, values: values.slopes.map((slope) => valueCoefficient * slope) } };
}

interface TokenNumbers {
  readonly logprob: number;
  /** The log probability at the time of the rollout. */
  readonly old: number;
  readonly reference: number;
  readonly advantage: number;
}

/** The loss of a token without its value, and its derivative by the log probability. */
export function tokenLoss(
  { logprob, old, reference, advantage }: TokenNumbers,
  { clip, beta }: Pick<PolicyKeys, 'clip' | 'beta'>,
) {
  const ratio = Math.exp(logprob - old);
  // The limit is in the direction of the advantage: a ratio beyond it has no gradient.
  const isClipped = advantage > 0 ? ratio > 1 + clip : advantage < 0 && ratio < 1 - clip;
  const limited = isClipped ? (advantage > 0 ? 1 + clip : 1 - clip) : ratio;
  // Not multiplied by a β of 0: a ratio may be infinite.
  const divergence =
    beta > 0
      ? { loss: beta * ratio * k3(logprob, reference), slope: beta * ratio * (logprob - reference) }
      : { loss: 0, slope: 0 };
  return {
    loss: -limited * advantage + divergence.loss,
    slope: (isClipped ? 0 : -ratio * advantage) + divergence.slope,
    ratio,
    isClipped,
  };
}

/** The sum of ½ · (error of the value)² over the targets, and the derivatives by the values. */
function judgeValues(values: Float32Array, batch: Batch, { valueClip }: NonNullable<PolicyLoss['values']>) {
  const { data: targets } = asTokenBatch(batch).arrays.targets;
  const [old, returns] = [policyArray(batch, 'values'), policyArray(batch, 'returns')];
  const slopes = new Float64Array(values.length);
  let loss = 0;
  for (const [n, target] of targets.entries()) {
    if (target < 0) continue;
    const judged = valueLoss({ value: values[n]!, old: old[n]!, target: returns[n]! }, valueClip);
    loss += judged.loss;
    slopes[n] = judged.slope;
  }
  return { loss, slopes };
}

interface ValueNumbers {
  readonly value: number;
  /** The value at the time of the rollout. */
  readonly old: number;
  /** The return. */
  readonly target: number;
}

/**
 * ½ · (error of a value)², and its derivative by the value. The larger one counts of the errors with and without the limit on how far a
 * value may move; a limited value has no influence.
 */
export function valueLoss({ value, old, target }: ValueNumbers, valueClip: number) {
  const error = value - target;
  const moved = value - old;
  const limit = valueClip > 0 ? Math.min(valueClip, Math.max(-valueClip, moved)) : moved;
  const limited = old + limit - target;
  const isLimited = limit !== moved && limited ** 2 > error ** 2;
  return { loss: 0.5 * (isLimited ? limited : error) ** 2, slope: isLimited ? 0 : error };
}
