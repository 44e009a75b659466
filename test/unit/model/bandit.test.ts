/**
 * A bandit: one prompt, and one of V tokens as the answer, whose rewards r are known. The best policy is then known too: it maximises
 * J = E r - β · KL(π‖π_ref), is proportional to π_ref · exp(r / β), and has J = β · log Σ π_ref · exp(r / β). The loop is that of a run:
 * rollouts, rewards, advantages, and steps on the rows.
 */
import { describe, expect } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { randomKey } from '../../../src/base/counterRandom.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { fillNormal } from '../../../src/model/normalRandom.ts';
import { grpo, ppo } from '../../../src/model/objectives/policy.ts';
import { referenceOf } from '../../../src/model/referenceModel.ts';
import { rolloutPart } from '../../../src/model/rollout.ts';
import { Tape } from '../../../src/model/tape.ts';
import { Trainer } from '../../../src/model/training.ts';
import { type AdvantageOptions, policyRows } from '../../../src/task/advantages.ts';
import { policySampleFields } from '../../../src/task/policyBatch.ts';
import { collate } from '../../../src/task/task.ts';
import { nightlyIt } from '../../nightly.ts';
import { tinyConfig } from '../../parity/model/tinyModels.ts';

const V = 8;
const beta = 0.5;
const rewards = Array.from({ length: V }, (_, token) => 0.3 + 0.6 * Math.sin(3 * token + 1));
const config: Gpt2Config = { ...tinyConfig, vocabSize: V, blockSize: 2, nLayer: 1, tiedHead: false };
const [prompts, group, iterations, inner] = [8, 8, 40, 2];

async function train(kind: 'grpo' | 'ppo') {
  const keys = { clip: 0.2, beta, valueClip: 0.2, valueCoefficient: 0.5 };
  const engine = await createEngine({ name: 'native', threads: 1 });
  const trainer = new Trainer(engine, kind === 'ppo' ? { ...config, valueHead: true } : config, {
    seed: 1,
    objective: kind === 'grpo' ? grpo(keys) : ppo(keys),
  });
  const { model, parameters } = trainer;
  const head = parameters.indexOf('lm_head.weight');
  const weights = new Float32Array(V * config.nEmbd);
  fillNormal(weights, randomKey(5), 0.2);
  parameters.writeTensor('params', head, weights);
  const reference = (await referenceOf(trainer)).model;
  const options: AdvantageOptions = { kind, group, beta, gamma: 1, gaeLambda: 0.95, scaleAdvantages: kind === 'ppo' };
  const asked = Array.from({ length: prompts }, (_, index) => ({ index, tokens: [0] }));
  let step = 0;
  let summary = { kl: 0 };
  for (let iteration = 1; iteration <= iterations; iteration++) {
    const request = { seed: 1, iteration, prompts: asked, group, maxTokens: 1, endToken: undefined };
    const rollouts = await rolloutPart({ engine, model, reference, precision: 'float32' }, request);
    const rewarded = rollouts.map((each) => ({ ...each, promptTokens: [0], reward: rewards[each.tokens[0]!]! }));
    const rows = policyRows(rewarded, options);
    if (iteration === 1) summary = rows.summary;
    const batch = collate(policySampleFields(kind), rows.samples, 1);
    for (let epoch = 0; epoch < inner; epoch++) {
      await trainer.microStep({ ...batch, lossScale: 1 / rollouts.length });
      const learningRate = 0.03 * (1 - step / (iterations * inner));
      await trainer.applyAdamw({
        step: ++step,
        learningRate,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weightDecay: 0,
        gradClip: 1,
      });
    }
  }
  const probabilities = async (of: typeof model) => {
    const tape = new Tape(engine);
    const logits = await tape.read(of.forward(tape, tape.upload(Int32Array.of(0), [1, 1])));
    tape.discard();
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    return Array.from(logits, (logit) => Math.exp(logit) / total);
  };
  const [policy, start] = [await probabilities(model), await probabilities(reference)];
  await engine.dispose();
  return { policy, start, firstKl: summary.kl };
}

const divergence = (p: readonly number[], q: readonly number[]) =>
  p.reduce((sum, each, i) => sum + each * Math.log(each / q[i]!), 0);

async function expectBest(kind: 'grpo' | 'ppo'): Promise<void> {
  const { policy, start, firstKl } = await train(kind);
  const z = start.reduce((sum, p, i) => sum + p * Math.exp(rewards[i]! / beta), 0);
  const best = start.map((p, i) => (p * Math.exp(rewards[i]! / beta)) / z);
  const objectiveOf = (p: readonly number[]) =>
    p.reduce((sum, each, i) => sum + each * rewards[i]!, 0) - beta * divergence(p, start);
  expect(Math.abs(firstKl)).toBeLessThan(1e-6);
  expect(objectiveOf(best)).toBeCloseTo(beta * Math.log(z), 10);
  expect(objectiveOf(start)).toBeLessThan(0.6 * objectiveOf(best));
  expect(objectiveOf(policy)).toBeGreaterThan(0.98 * objectiveOf(best));
  const ratio = divergence(policy, start) / divergence(best, start);
  expect(ratio).toBeGreaterThan(0.9);
  expect(ratio).toBeLessThan(1.1);
}

describe('the best policy of a bandit near the reference', () => {
  nightlyIt('is found by GRPO', () => expectBest('grpo'), 120_000);
  nightlyIt('is found by PPO', () => expectBest('ppo'), 120_000);
});
