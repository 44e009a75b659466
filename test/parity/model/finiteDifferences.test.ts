/** The gradients of the tape, for complete models, against central finite differences, both in float64. */
import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../../src/engine/tensor.ts';
import { Model } from '../../../src/model/model.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../src/model/parameterStore.ts';
import type { Seed } from '../../../src/model/recording.ts';
import { Tape } from '../../../src/model/tape.ts';
import type { Variable } from '../../../src/model/variable.ts';
import { Float64Engine, numbers } from './float64Engine.ts';
import { loraConfig } from './loraSuite.ts';
import { dropoutSource, randomBatch, tinyConfig, variants } from './tinyModels.ts';

/** With 1e-5, the third derivative by a factor of LoRA would be the larger error. */
const step = 3e-6;
/** A central difference is off by about step² of the third derivative, and by 1e-14 of the loss divided by the step. */
const tolerance = 1e-6;

const smallLora = { ...loraConfig, vocabSize: 7, blockSize: 5, nLayer: 1, nEmbd: 8 };

/** One layer of the other transformers has all their operations. */
const small = variants.map(({ name, config }) =>
  config.architecture === 'gpt2' ? { name, config } : { name, config: { ...config, nLayer: 1, vocabSize: 11 } },
);

describe('complete model, every parameter', () => {
  it.each([
    ...small,
    { name: 'lora', config: smallLora },
    { name: 'value head', config: { ...tinyConfig, valueHead: true } },
  ])('$name', ({ config }) => {
    const engine = new Float64Engine();
    const parameters = new Parameters(engine, parameterSpecs(config), { training: true, isTrained: () => true });
    parameters.initialise(3);
    // Away from the initial point, where biases are 0 and layer norms 1, so that a swapped or missing term shows.
    for (const { value } of parameters.list) {
      const data = numbers(value);
      for (let i = 0; i < data.length; i++) data[i] = 4 * data[i]! * (1 + 0.1 * Math.sin(i)) + 0.1 * Math.cos(3 * i);
    }
    const model = new Model(engine, config, parameters);
    const batch = randomBatch(config, { seed: 5, batchSize: 2, ignoreEvery: 5 });
    const tokens = tensorOf(engine, batch.arrays.tokens.data, [2, config.blockSize]);
    const targets = tensorOf(engine, batch.arrays.targets.data, [2 * config.blockSize]);
    const tape = new Tape(engine);
    let seeds: Seed[] = [];
    const sumOf = ({ value }: Variable) => numbers(value).reduce((total, each) => total + each, 0);
    const forward = (withGradient: boolean): number => {
      if ('valueHead' in config && config.valueHead) {
        parameters.valuesChanged();
        const options = { training: withGradient, dropout: dropoutSource() };
        const outputs = Object.values(model.lossesAndValues(tape, tokens, targets, options));
        if (withGradient) {
          seeds = outputs.map((of) => ({ of, grad: tape.upload(new Float32Array(of.value.size).fill(1), of.shape) }));
        }
        return outputs.reduce((total, output) => total + sumOf(output), 0);
      }
      const lossScale = withGradient ? 1 : undefined;
      parameters.valuesChanged(); // they are written in place
      const losses = model.losses(tape, tokens, targets, { lossScale, dropout: dropoutSource() });
      return sumOf(losses);
    };
    forward(true);
    tape.backward(seeds);
    tape.discard();

    for (const { name, value, grad } of parameters.list) {
      const data = numbers(value);
      const gradient = numbers(grad!);
      expect(gradient.some((g) => Math.abs(g) > 100 * tolerance)).toBe(true);
      const stride = Math.max(1, Math.floor(data.length / 13)); // elements of every row and column are met
      for (let i = 0; i < data.length; i += stride) {
        const original = data[i]!;
        const lossAt = (x: number): number => {
          data[i] = x;
          const loss = forward(false);
          tape.discard();
          return loss;
        };
        const difference = (lossAt(original + step) - lossAt(original - step)) / (2 * step);
        data[i] = original;
        const error = Math.abs(difference - gradient[i]!);
        expect(error, `${name}[${i}]: ${gradient[i]} against ${difference}`).toBeLessThan(
          tolerance * Math.max(1, Math.abs(difference)),
        );
      }
    }
  });
});

function tensorOf(engine: Float64Engine, data: Int32Array, shape: number[]): Tensor {
  const tensor = engine.alloc(shape, 'int32');
  engine.upload(tensor, data);
  return tensor;
}
