/** The bigram model against the closed form: counting pairs of tokens. */
import { describe, expect, it } from 'vitest';
import { type ModelConfig, networkOf } from '../../../src/architecture/registry.ts';
import { decodeModelConfig, encodeModelConfig, matchTensors } from '../../../src/checkpoint/modelConfig.ts';
import { generate } from '../../../src/model/generate.ts';
import { Trainer } from '../../../src/model/training.ts';
import { tokenBatch } from '../../../src/task/nextToken.ts';
import { Float64Engine } from '../../parity/model/float64Engine.ts';

const config: ModelConfig = { architecture: 'bigram', vocabSize: 3, blockSize: 6 };
const text = [0, 1, 0, 1, 2, 0, 1, 1, 0, 2, 0, 1, 0];
const batch = tokenBatch(Int32Array.from(text.slice(0, 12)), Int32Array.from(text.slice(1)), 6);

/** -log of how often each token followed the one before it. */
function countedLoss(): number {
  const pairs = text.slice(1).map((next, i) => [text[i]!, next] as const);
  const count = (first: number, next?: number) =>
    pairs.filter((pair) => pair[0] === first && (next === undefined || pair[1] === next)).length;
  return pairs.reduce((sum, [first, next]) => sum - Math.log(count(first, next) / count(first)), 0) / pairs.length;
}

async function trained(steps: number): Promise<{ trainer: Trainer; loss: number }> {
  const trainer = new Trainer(new Float64Engine(), config, { seed: 1 });
  const adamw = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, gradClip: 0 };
  for (let step = 1; step <= steps; step++) {
    await trainer.microStep({ ...batch, lossScale: 1 / 12 });
    await trainer.applyAdamw({ ...adamw, step, learningRate: 0.1 });
  }
  const { loss, weight } = await trainer.evaluate(batch);
  return { trainer, loss: loss! / weight };
}

describe('the bigram model', () => {
  it('starts as a uniform guess, and learns what counting gives', async () => {
    expect((await trained(0)).loss).toBeCloseTo(Math.log(3), 6);
    const { loss } = await trained(200);
    expect(loss - countedLoss()).toBeGreaterThan(-1e-9);
    expect(loss - countedLoss()).toBeLessThan(1e-3);
  });

  it('generates the same tokens with a cache, which stays empty, and without', async () => {
    const { trainer } = await trained(20);
    const sampled = async (useCache: boolean) => {
      const options = { prompt: [0, 1], maxTokens: 12, temperature: 1, topK: 0, topP: 1, seed: 3, useCache };
      const tokens: number[] = [];
      for await (const token of generate(trainer.engine, trainer.model, options)) tokens.push(token);
      return tokens;
    };
    expect(await sampled(true)).toEqual(await sampled(false));
  });

  it("has a config.json of our own, which gives its table's shape", () => {
    const json = JSON.parse(encodeModelConfig(config, undefined));
    expect(json).toMatchObject({ model_type: 'lockstep', lockstep: { version: 1, model: config } });
    expect(decodeModelConfig(json, 'config.json')).toEqual(config);
    const tensors = networkOf(config).specs.map(({ name, shape }) => ({ name, shape }));
    expect([...matchTensors(tensors, config, 'model').values()]).toEqual([{ shape: [3, 3], parts: tensors }]);
    const [newer, broken] = [structuredClone(json), structuredClone(json)];
    newer.lockstep.version = 2;
    broken.lockstep.model.nLayer = 2;
    expect(() => decodeModelConfig(newer, 'config.json')).toThrow('lockstep.version is 2');
    expect(() => decodeModelConfig(broken, 'config.json')).toThrow('config.json is damaged');
    const changed = (model: object) => decodeModelConfig({ ...json, lockstep: { version: 1, model } }, 'config.json');
    expect(() => changed({ ...config, architecture: 'trigram' })).toThrow(
      'config.json: unknown architecture "trigram", known: gpt2, bigram',
    );
    for (const key of Object.keys(config)) {
      const less = Object.fromEntries(Object.entries(config).filter(([name]) => name !== key));
      expect(() => changed(less), key).toThrow(`config.json is damaged: lockstep.model.${key} is missing`);
    }
    expect(() => changed({ ...config, architecture: 3 })).toThrow('config.json is damaged');
  });
});
