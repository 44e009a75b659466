/** native against tfjs on models large enough for blocked and threaded kernels: the loss and every gradient. */
import { describe, expect, it } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import { Trainer } from '../../../src/model/training.ts';
import { targetsOf } from '../../../src/task/nextToken.ts';
import { relativeError } from '../kernels/harness.ts';
import { dropoutSource, randomBatch, tinyConfig } from './tinyModels.ts';

const tolerance = 1e-4;
const models: readonly { readonly name: string; readonly config: Gpt2Config }[] = [
  { name: 'GPT-2', config: { ...tinyConfig, vocabSize: 211, blockSize: 48, nLayer: 3, nHead: 4, nEmbd: 96 } },
  {
    name: 'every option the other way',
    config: {
      architecture: 'gpt2',
      vocabSize: 97,
      blockSize: 33,
      nLayer: 2,
      nHead: 3,
      nEmbd: 75,
      dropout: 0.15,
      bias: false,
      activation: 'relu',
      tiedHead: false,
    },
  },
];

describe.each(['cpu', 'wasm'] as const)('native and tfjs %s', (device) => {
  it.each(models)('agree on $name', async ({ config }) => {
    const native = await run(createNativeEngine({ threads: 2 }), config);
    const tfjs = await run(await createTfjsEngine({ deviceKind: device }), config);
    expect(Math.abs(native.loss / tfjs.loss - 1)).toBeLessThan(tolerance);
    expect([...native.gradients.keys()]).toEqual([...tfjs.gradients.keys()]);
    for (const [name, gradient] of native.gradients) {
      expect(relativeError(gradient, tfjs.gradients.get(name)!), name).toBeLessThan(tolerance);
    }
  });
});

async function run(engine: Engine, config: Gpt2Config) {
  const trainer = new Trainer(engine, config, { seed: 6 });
  const batch = randomBatch(config, { seed: 4, batchSize: 3, ignoreEvery: 11 });
  const { loss } = await trainer.microStep({ ...batch, lossScale: 1 / targetsOf(batch), dropout: dropoutSource() });
  const gradients = new Map<string, Float32Array>();
  for (const [index, { name, size }] of trainer.parameters.specs.entries()) {
    const into = new Float32Array(size);
    await trainer.parameters.readTensor('grads', index, into);
    gradients.set(name, into);
  }
  await engine.dispose();
  return { loss, gradients };
}
