/** Rollouts: the log probabilities of drawing and training are the same, and no rollout depends on others. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../../src/architecture/registry.ts';
import { isTrainedBy } from '../../../src/architecture/trainable.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { grpo, ppo } from '../../../src/model/objectives/policy.ts';
import { reward } from '../../../src/model/objectives/reward.ts';
import { referenceOf } from '../../../src/model/referenceModel.ts';
import { rolloutPart } from '../../../src/model/rollout.ts';
import { scoreTexts } from '../../../src/model/scoreTexts.ts';
import { Trainer } from '../../../src/model/training.ts';
import { policyRows } from '../../../src/task/advantages.ts';
import { checkBatch } from '../../../src/task/fields.ts';
import { policyArray, policySampleFields } from '../../../src/task/policyBatch.ts';
import type { Rollout } from '../../../src/task/rollouts.ts';
import { collate } from '../../../src/task/task.ts';
import { tinyConfig } from '../../parity/model/tinyModels.ts';

const config: ModelConfig = { ...tinyConfig, blockSize: 48, valueHead: true };
const keys = { clip: 0.2, beta: 0.1, valueClip: 0.2, valueCoefficient: 0.5 };
const request = {
  seed: 3,
  iteration: 1,
  prompts: [
    { index: 4, tokens: [1, 2, 3] },
    { index: 0, tokens: [7] },
    { index: 9, tokens: Array.from({ length: 45 }, (_, i) => i % 29) },
  ],
  group: 4,
  maxTokens: 20,
  endToken: 5,
};

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ name: 'native', threads: 1 });
});
afterAll(() => engine.dispose());

/** A trainer whose value head and adapters are not those of the start. */
function trainerOf(kind: 'grpo' | 'ppo', model = config, trainable = 'all'): Trainer {
  const objective = kind === 'grpo' ? grpo(keys) : ppo(keys);
  const trainer = new Trainer(engine, model, { seed: 1, objective, isTrained: isTrainedBy(trainable) });
  for (const { index, name, value } of trainer.parameters.list) {
    if (name !== 'value.weight') continue;
    trainer.parameters.writeTensor(
      'params',
      index,
      Float32Array.from({ length: value.size }, (_, i) => Math.sin(i)),
    );
  }
  return trainer;
}

async function rolloutsOf(trainer: Trainer, asked = request): Promise<Rollout[]> {
  const reference = (await referenceOf(trainer)).model;
  return rolloutPart({ engine, model: trainer.model, reference, precision: 'float32' }, asked);
}

function batchOf(rollouts: readonly Rollout[], kind: 'grpo' | 'ppo') {
  const rewarded = rollouts.map((rollout) => ({
    ...rollout,
    promptTokens: request.prompts.find(({ index }) => index === rollout.prompt)!.tokens,
    reward: rollout.tokens.length,
  }));
  const options = { kind, group: 4, beta: 0.1, gamma: 1, gaeLambda: 0.95, scaleAdvantages: false } as const;
  return collate(policySampleFields(kind), policyRows(rewarded, options).samples, config.blockSize);
}

describe('rollouts', () => {
  it('have the log probabilities and values that training computes, and start without divergence', async () => {
    const trainer = trainerOf('ppo');
    const rollouts = await rolloutsOf(trainer);
    for (const { logprobs, reference, tokens, ended } of rollouts) {
      expect(ended).toBe(tokens.at(-1) === 5);
      expect(Math.max(...logprobs.map((logprob, t) => Math.abs(logprob - reference[t]!)))).toBeLessThan(1e-5);
    }
    expect(rollouts.map(({ prompt, member }) => [prompt, member])).toEqual(
      [4, 0, 9].flatMap((index) => [0, 1, 2, 3].map((member) => [index, member])),
    );
    expect(rollouts.some(({ ended }) => ended) && rollouts.some(({ ended }) => !ended)).toBe(true);
    // A prompt of 45 tokens leaves room for four: the last is predicted from a full context.
    expect(Math.max(...rollouts.slice(8).map(({ tokens }) => tokens.length))).toBeLessThanOrEqual(4);

    const batch = batchOf(rollouts, 'ppo');
    checkBatch(batch, trainer.objective.fields(config));
    const sums = await trainer.evaluate(batch);
    expect(sums['ratio']! / sums.weight).toBeCloseTo(1, 5);
    expect(sums['clipped']).toBe(0);
    expect(Math.abs(sums['kl']! / sums.weight)).toBeLessThan(1e-6);
    // The values of training are those of the rollouts: their errors are the advantages.
    const expected = policyArray(batch, 'advantages').reduce((sum, advantage) => sum + 0.5 * advantage ** 2, 0);
    expect(sums['valueLoss']! / expected).toBeCloseTo(1, 5);
  });

  it('do not depend on the rollouts beside them, to the bit', async () => {
    const trainer = trainerOf('ppo');
    const together = await rolloutsOf(trainer);
    for (const prompt of request.prompts) {
      const alone = await rolloutsOf(trainer, { ...request, prompts: [prompt] });
      expect(alone).toEqual(together.filter(({ prompt: index }) => index === prompt.index));
    }
    expect(await rolloutsOf(trainer, { ...request, iteration: 2 })).not.toEqual(together);
  });

  it('of an adapted model have the model without adapters as their reference, without a copy', async () => {
    const adapted = { ...config, valueHead: false, loraRank: 2 };
    const trainer = trainerOf('grpo', adapted);
    const { parameters, model } = await referenceOf(trainer);
    expect(parameters).toBeUndefined();
    const before = await rolloutsOf(trainer);
    for (const { index, name, value } of trainer.parameters.list) {
      if (!name.endsWith('lora_B.weight')) continue;
      trainer.parameters.writeTensor('params', index, new Float32Array(value.size).fill(0.3));
    }
    const after = await rolloutPart({ engine, model: trainer.model, reference: model, precision: 'float32' }, request);
    expect(after).not.toEqual(before);
    const sums = await trainer.evaluate(batchOf(before, 'grpo'));
    expect(sums['kl']! / sums.weight).toBeGreaterThan(1e-3);
  });

  it('keep the model of the start as their reference where all of it is trained', async () => {
    const trainer = trainerOf('grpo', { ...config, valueHead: false });
    const { parameters, model } = await referenceOf(trainer);
    const index = trainer.parameters.indexOf('transformer.wte.weight');
    const before = await rolloutPart({ engine, model, reference: model, precision: 'float32' }, request);
    trainer.parameters.writeTensor('params', index, new Float32Array(29 * 16));
    expect(await rolloutPart({ engine, model, reference: model, precision: 'float32' }, request)).toEqual(before);
    expect(parameters?.count).toBe(trainer.parameters.count);
  });
});

describe('scores of texts', () => {
  it('do not depend on the texts beside them, and on padding', async () => {
    const trainer = new Trainer(
      engine,
      { ...config, valueHead: false, labels: ['reward'] },
      { seed: 2, objective: reward },
    );
    const texts = [[1, 2, 3], [4], Array.from({ length: 48 }, (_, i) => i % 29)];
    const scores = await scoreTexts(trainer, texts);
    expect(new Set(scores).size).toBe(3);
    for (const [i, text] of texts.entries()) expect((await scoreTexts(trainer, [text]))[0]).toBe(scores[i]);
  });

  it('need a reward model', async () => {
    await expect(scoreTexts(trainerOf('grpo'), [[1]])).rejects.toThrow('the model does not score texts');
  });
});
