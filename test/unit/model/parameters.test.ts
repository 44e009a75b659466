import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import type { IsTrained } from '../../../src/architecture/parameters.ts';
import { architectureOf, parameterCount } from '../../../src/architecture/registry.ts';
import type { TensorGroup } from '../../../src/engine/tensor.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../src/model/parameterStore.ts';
import { Trainer } from '../../../src/model/training.ts';
import { Float64Engine, numbers } from '../../parity/model/float64Engine.ts';
import { randomBatch, tinyConfig } from '../../parity/model/tinyModels.ts';

const gpt2: Gpt2Config = {
  architecture: 'gpt2',
  vocabSize: 50257,
  blockSize: 1024,
  nLayer: 12,
  nHead: 12,
  nEmbd: 768,
  dropout: 0,
  bias: true,
  activation: 'gelu',
  tiedHead: true,
};
const tiny: Gpt2Config = { ...gpt2, vocabSize: 11, blockSize: 4, nLayer: 2, nHead: 2, nEmbd: 8 };

async function initialised(config: Gpt2Config, seed: number): Promise<Map<string, Float32Array>> {
  const parameters = new Parameters(new Float64Engine(), parameterSpecs(config), { training: false });
  parameters.initialise(seed);
  const byName = new Map<string, Float32Array>();
  for (const [index, { name, size }] of parameters.specs.entries()) {
    const into = new Float32Array(size);
    await parameters.readTensor('params', index, into);
    byName.set(name, into);
  }
  return byName;
}

describe('parameterSpecs', () => {
  it('counts GPT-2 as published', () => {
    expect(parameterCount(gpt2)).toBe(124_439_808);
    expect(parameterCount({ ...gpt2, tiedHead: false })).toBe(124_439_808 + 50257 * 768);
    expect(parameterCount({ ...gpt2, bias: false })).toBe(124_439_808 - 12 * 768 * (3 + 1 + 4 + 1 + 2) - 768);
  });

  it('has the names and shapes that Hugging Face saves, from the head to the embeddings', () => {
    const specs = parameterSpecs({ ...tiny, nLayer: 1, tiedHead: false });
    expect(specs.map(({ name, shape }) => [name, shape.join('x')])).toEqual([
      ['lm_head.weight', '11x8'],
      ['transformer.ln_f.weight', '8'],
      ['transformer.ln_f.bias', '8'],
      ['transformer.h.0.mlp.c_proj.weight', '32x8'],
      ['transformer.h.0.mlp.c_proj.bias', '8'],
      ['transformer.h.0.mlp.c_fc.weight', '8x32'],
      ['transformer.h.0.mlp.c_fc.bias', '32'],
      ['transformer.h.0.ln_2.weight', '8'],
      ['transformer.h.0.ln_2.bias', '8'],
      ['transformer.h.0.attn.c_proj.weight', '8x8'],
      ['transformer.h.0.attn.c_proj.bias', '8'],
      ['transformer.h.0.attn.c_attn.weight', '8x24'],
      ['transformer.h.0.attn.c_attn.bias', '24'],
      ['transformer.h.0.ln_1.weight', '8'],
      ['transformer.h.0.ln_1.bias', '8'],
      ['transformer.wpe.weight', '4x8'],
      ['transformer.wte.weight', '11x8'],
    ]);
  });

  it.each([
    { ...tiny, nLayer: 3 },
    { ...tiny, tiedHead: false, bias: false, dropout: 0.1 },
  ])('has the order in which backward finishes: head, last layer, …, first layer, embeddings: %o', (config) => {
    const layer = (index: number) =>
      ['mlp.c_proj', 'mlp.c_fc', 'ln_2', 'attn.c_proj', 'attn.c_attn', 'ln_1'].flatMap((part) =>
        ['weight', ...(config.bias ? ['bias'] : [])].map((kind) => `transformer.h.${index}.${part}.${kind}`),
      );
    expect(parameterSpecs(config).map(({ name }) => name)).toEqual([
      ...(config.tiedHead ? [] : ['lm_head.weight']),
      'transformer.ln_f.weight',
      ...(config.bias ? ['transformer.ln_f.bias'] : []),
      ...Array.from({ length: config.nLayer }, (_, i) => layer(config.nLayer - 1 - i)).flat(),
      'transformer.wpe.weight',
      'transformer.wte.weight',
    ]);
  });

  it('decays matrices only', () => {
    for (const { name, decay, shape } of parameterSpecs(gpt2))
      expect([name, decay]).toEqual([name, shape.length === 2]);
  });

  it('refuses a parameter that the forward pass never uses, by its name, unless it is frozen', () => {
    const architecture = architectureOf(tiny);
    const { network } = architecture;
    const declaring = vi.spyOn(architecture, 'network');
    onTestFinished(() => declaring.mockRestore());
    let trainable = true;
    declaring.mockImplementation((sizes, declare) => {
      Object.assign(declare.parameter('spare.weight', [3], { constant: 0 }), { trainable });
      return network(sizes, declare);
    });
    expect(() => parameterSpecs(tiny)).toThrow('architecture gpt2 declares parameter spare.weight and never uses it');
    trainable = false;
    expect(parameterSpecs(tiny).at(-1)?.name).toBe('spare.weight');
  });

  it('refuses sizes that make no GPT', () => {
    expect(() => parameterSpecs({ ...tiny, nHead: 3 })).toThrow('model.nEmbd 8 must be divisible by model.nHead 3');
    expect(() => parameterSpecs({ ...tiny, nLayer: 0 })).toThrow('model.nLayer: ');
  });
});

describe('initialise', () => {
  it("has GPT-2's standard deviations", async () => {
    const config: Gpt2Config = { ...tiny, vocabSize: 500, nEmbd: 64, nLayer: 8 };
    for (const [name, values] of await initialised(config, 1)) {
      if (name.includes('ln_') || name.endsWith('bias')) {
        const constant = name.includes('ln_') && name.endsWith('weight') ? 1 : 0;
        expect(new Set(values), name).toEqual(new Set([constant]));
      } else {
        const expected = name.includes('c_proj') ? 0.02 / 4 : 0.02; // 1/sqrt(2·8) = 1/4
        const deviation = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
        expect(Math.abs(deviation / expected - 1), name).toBeLessThan(4 / Math.sqrt(2 * values.length));
      }
    }
  });

  it('gives every tensor a stream of its own, by seed and name', async () => {
    const [first, again, other, deeper] = await Promise.all([
      initialised(tiny, 1),
      initialised(tiny, 1),
      initialised(tiny, 2),
      initialised({ ...tiny, nLayer: 3 }, 1),
    ]);
    expect(again).toEqual(first);
    const weights = 'transformer.h.0.mlp.c_fc.weight';
    expect(other.get(weights)).not.toEqual(first.get(weights));
    expect(deeper.get(weights)).toEqual(first.get(weights));
    expect(first.get('transformer.h.1.mlp.c_fc.weight')).not.toEqual(first.get(weights));
  });
});

describe('state', () => {
  it('is exported and imported unpadded, in the order of the specs', async () => {
    const parameters = new Parameters(new Float64Engine(), parameterSpecs(tiny), { training: true });
    const numbers = Float32Array.from({ length: parameters.count }, (_, i) => i);
    parameters.importState('m', numbers);
    const exported = new Float32Array(parameters.count);
    await parameters.exportState('m', exported);
    expect(exported).toEqual(numbers);

    const second = new Float32Array(parameters.specs[1]!.size);
    await parameters.readTensor('m', 1, second);
    expect(second[0]).toBe(parameters.specs[0]!.size);
    parameters.writeTensor('m', 0, new Float32Array(parameters.specs[0]!.size).fill(-1));
    await parameters.exportState('m', exported);
    expect([exported[0], exported[parameters.specs[0]!.size]]).toEqual([-1, second[0]]);

    await parameters.exportState('v', exported);
    expect(new Set(exported)).toEqual(new Set([0]));
    expect(() => parameters.importState('params', new Float32Array(3))).toThrow('received 3');
  });

  it('has no gradients and moments outside training', () => {
    const parameters = new Parameters(new Float64Engine(), parameterSpecs(tiny), { training: false });
    expect(() => parameters.grads).toThrow('only for training');
    expect(parameters.list.every(({ grad }) => grad === undefined)).toBe(true);
  });
});

describe('frozen parameters', () => {
  const isTrained: IsTrained = ({ name }) =>
    name.startsWith('transformer.h.1.') || name.startsWith('transformer.ln_f.');
  const adamw = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradClip: 0 };

  async function trained(options: { isTrained?: IsTrained }) {
    const trainer = new Trainer(new Float64Engine(), tinyConfig, { seed: 1, ...options });
    const ready: number[] = [];
    for (const step of [1, 2]) {
      const batch = randomBatch(tinyConfig, { seed: step, batchSize: 2 });
      await trainer.microStep({ ...batch, lossScale: 0.1, ...(step === 2 && { onGradReady: (i) => ready.push(i) }) });
      await trainer.applyAdamw({ ...adamw, step });
    }
    const { parameters } = trainer;
    const numbersOf = (name: string) => [...numbers(parameters.get(name).value)];
    return { trainer, parameters, ready, numbersOf };
  }

  it('keep their bits, while the others are trained', async () => {
    const initial = new Trainer(new Float64Engine(), tinyConfig, { seed: 1 }).parameters;
    const { parameters, numbersOf, ready } = await trained({ isTrained });
    const frozen = parameters.specs.filter((spec) => !isTrained(spec));
    expect(frozen.length).toBeGreaterThan(10);
    for (const { name } of frozen) expect(numbersOf(name), name).toEqual([...numbers(initial.get(name).value)]);
    for (const { name } of parameters.trained)
      expect(numbersOf(name), name).not.toEqual([...numbers(initial.get(name).value)]);
    expect(ready).toEqual([...parameters.trained.keys()]);
  });

  it('have no gradients and no moments, and are not part of what a step changes', async () => {
    const [{ parameters, trainer }, all] = [await trained({ isTrained }), await trained({})];
    expect(parameters.specs.map(({ name }) => name).toSorted()).toEqual(
      all.parameters.specs.map(({ name }) => name).toSorted(),
    );
    expect(parameters.count).toBe(all.parameters.count);
    expect(parameters.trained.map(({ name }) => name)).toEqual(
      all.parameters.specs.filter(isTrained).map(({ name }) => name),
    );
    const { grads, m, v, specs, trained: some } = parameters;
    const shapesIn = (groups: readonly TensorGroup[]) => groups.flatMap(({ tensors }) => tensors.map((t) => t.shape));
    const shapesOf = (these: typeof specs) => these.map(({ shape }) => shape);
    for (const group of [parameters.values, grads, m, v]) expect(shapesIn([group])).toEqual(shapesOf(some));
    expect(shapesIn(parameters.allValues)).toEqual(shapesOf(specs));
    expect(shapesIn(parameters.state)).toEqual([specs, some, some].flatMap(shapesOf));
    expect(parameters.specsOf('params')).toEqual(parameters.specs);
    const numbersIn = (specs: readonly { size: number }[]) => specs.reduce((sum, { size }) => sum + size, 0);
    const values = new Float32Array(parameters.count);
    const moments = new Float32Array(numbersIn(parameters.trained));
    await parameters.exportState('params', values);
    await parameters.exportState('m', moments);
    expect(() => parameters.importState('v', values)).toThrow(`expected ${moments.length} numbers`);
    parameters.importState(
      'params',
      values.map((x) => 2 * x),
    );
    parameters.writeTensor('params', parameters.specs.length - 1, values.subarray(-parameters.specs.at(-1)!.size));
    await expect(parameters.readTensor('m', parameters.specs.length - 1, moments)).rejects.toThrow('has no m');
    const [own, whole] = [trainer, all.trainer].map(({ engine }) => engine.memory().bytesInUse);
    expect(own).toBe((whole! * (parameters.count + 3 * moments.length)) / (4 * parameters.count));
    expect(() => new Trainer(new Float64Engine(), tinyConfig, { seed: 1, isTrained: () => false })).toThrow(
      'at least one',
    );
  });
});
