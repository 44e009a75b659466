/** What a step is counted as worth, against the kernels that a step calls. */
import { expect, it } from 'vitest';
import type { ModelConfig } from '../../../src/architecture/registry.ts';
import { isTrainedBy, type Trainable, trainedCount } from '../../../src/architecture/trainable.ts';
import { phaseFlops, stepFlops } from '../../../src/architecture/work.ts';
import { observeKernels } from '../../../src/engine/observeKernels.ts';
import type { Tensor } from '../../../src/engine/tensor.ts';
import { Trainer } from '../../../src/model/training.ts';
import { Float64Engine } from '../../parity/model/float64Engine.ts';
import { randomBatch, tinyConfig } from '../../parity/model/tinyModels.ts';

/** For one sequence: each weight of a product does 2 a token in forward, and 2 for each requested gradient. */
async function flopsOfKernels(config: ModelConfig, trainable: Trainable): Promise<number> {
  let flops = 0;
  const T = config.blockSize;
  const engine = observeKernels(new Float64Engine(), () => (kernel, options) => {
    const given = options as Partial<Record<'inp' | 'weight' | 'dinp' | 'dweight' | 'qkv', Tensor>>;
    if (isForAnAdapter(given)) return;
    const gradients = Number(given.dinp !== undefined) + Number(given.dweight !== undefined);
    const product = 2 * T * (given.weight?.size ?? 0);
    if (kernel === 'linearForward') flops += product;
    if (kernel === 'linearBackward') flops += product * gradients;
    if (kernel === 'linearCrossEntropy') flops += product * (1 + gradients);
    const scores = 2 * T * T * ((given.qkv?.size ?? 0) / T / 3);
    if (kernel === 'attentionForward') flops += scores;
    if (kernel === 'attentionBackward') flops += 2 * scores;
  });
  const trainer = new Trainer(engine, config, { seed: 1, isTrained: isTrainedBy(trainable) });
  await trainer.microStep({ ...randomBatch(config, { seed: 1, batchSize: 1 }), lossScale: 1 });
  return flops;
}

/** Adapters of rank 1 have products of one row, which are not counted; a sequence has more. */
function isForAnAdapter({ inp }: { readonly inp?: Tensor }): boolean {
  return inp?.shape[0] === 1 && inp.shape.length === 2;
}

const config: ModelConfig = { ...tinyConfig, bias: false };

it.each<[Trainable, ModelConfig]>([
  ['all', config],
  ['all', { ...config, tiedHead: false }],
  [['transformer.h.1.*', 'transformer.ln_f.*'], config],
  ['transformer.h.0.attn.c_proj.weight', config],
  ['transformer.ln_f.weight', config],
  ['lm_head.weight', { ...config, tiedHead: false }],
  ['transformer.wte.weight', config],
  ['transformer.wpe.weight', { ...config, tiedHead: false }],
  ['all', { ...config, loraRank: 1, loraTargets: ['c_attn', 'mlp.c_proj'] }],
  ['transformer.h.0.mlp.c_proj.lora_A.weight', { ...config, loraRank: 1, loraTargets: ['c_attn', 'mlp.c_proj'] }],
  ['all', { architecture: 'bigram', vocabSize: 5, blockSize: 4 }],
])('where %j is trained', async (trainable, model) => {
  expect(stepFlops(model, model.blockSize, trainable)).toBe(await flopsOfKernels(model, trainable));
});

it('counts no bias, which is added', () => {
  expect(stepFlops(tinyConfig, 1)).toBe(stepFlops(config, 1));
});

it('is a third where nothing but the head is trained, and its gradient comes with the loss', () => {
  const model: ModelConfig = { ...config, tiedHead: false };
  const { forward, backward } = phaseFlops(model, 1, 'lm_head.weight');
  expect(backward).toBe(0);
  expect(forward).toBe(stepFlops(model, 1) / 3 + 2 * 29 * 16);
  expect(trainedCount(model, 'lm_head.weight')).toBe(29 * 16);
});
