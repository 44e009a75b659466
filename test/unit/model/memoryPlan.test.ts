import { describe, expect, it } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { trainedCount } from '../../../src/architecture/trainable.ts';
import { planWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { checkpointCopyBytes, memoryPerWorker } from '../../../src/model/memoryPlan.ts';

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
/** The residual stream of a microbatch of 4 sequences: C numbers a token. */
const residualBytes = 4 * 1024 * 768 * 4;

describe('memoryPerWorker on a GPU', () => {
  const planned = (maxBufferSize: number) =>
    planWebgpuEngine({
      info: {} as GPUAdapterInfo,
      features: new Set() as unknown as GPUSupportedFeatures,
      limits: { maxBufferSize, maxStorageBufferBindingSize: 2 ** 27 } as GPUSupportedLimits,
    });
  const small = { ...gpt2, nLayer: 2, nEmbd: 64, nHead: 2, blockSize: 64 };

  it('has the parameters of the native engine, more logits, and the way of the gradients to the host', () => {
    const { total, ...parts } = memoryPerWorker(small, { microBatchSize: 4, plannedOn: planned(2 ** 32) });
    const native = memoryPerWorker(small, { microBatchSize: 4 });
    for (const name of ['parameters', 'gradients', 'moments'] as const) {
      expect(parts[name] / native[name], name).toBeCloseTo(1, 2);
    }
    const logits = 4 * 4 * 64 * 50_260;
    expect(parts.activations).toBeGreaterThan(logits);
    expect(parts.transfers! / parts.gradients).toBeCloseTo(1, 1);
    expect(Object.values(parts).reduce((sum, part) => sum + part, 0)).toBe(total);
    expect(native.transfers).toBeUndefined();
  });

  it('refuses what its driver cannot hold in one buffer', () => {
    expect(() => memoryPerWorker(small, { microBatchSize: 4, plannedOn: planned(2 ** 20) })).toThrow(
      /does not fit this GPU: its driver allows 1,048,576 in one buffer/,
    );
  });
});

describe('memoryPerWorker', () => {
  it('adds up: parameters, gradients and two moments of each, and what a pass keeps, hardly more', () => {
    const { total, ...parts } = memoryPerWorker(gpt2, { microBatchSize: 4 });
    expect(total).toBe(Object.values(parts).reduce((a, b) => a + b));
    const parameters = 4 * 124_439_808;
    expect(parts).toMatchObject({ parameters, gradients: parameters, moments: 2 * parameters });
    // For each token and layer: both layer norms, q, k and v, attention and both residual sums are 8 times C numbers, and the
    // MLP's 4C are kept before and after the activation. Beside them is what backward needs at once.
    const perLayer = 16 * 12;
    expect(parts.activations / residualBytes).toBeGreaterThan(perLayer);
    expect(parts.activations / residualBytes).toBeLessThan(perLayer + 12);
  });

  it('keeps the inputs of blocks that are computed again, and all of one block', () => {
    const { activations } = memoryPerWorker(gpt2, { microBatchSize: 4, activationRecompute: 'block' });
    expect(activations / residualBytes).toBeGreaterThan(12 + 16);
    expect(activations / residualBytes).toBeLessThan(12 + 16 + 12);
  });

  it('is little more for each layer where blocks are computed again: its input, beside its parameters', () => {
    const activations = (nLayer: number) =>
      memoryPerWorker({ ...gpt2, nLayer }, { microBatchSize: 4, activationRecompute: 'block' }).activations;
    expect(activations(24) - activations(12)).toBe(12 * 4 * 1024 * 768 * 4);
  });

  it('has no gradients, moments and kept activations for what is frozen', () => {
    const all = memoryPerWorker(gpt2, { microBatchSize: 4 });
    const last = memoryPerWorker(gpt2, { microBatchSize: 4, trainable: ['transformer.h.11.*', 'transformer.ln_f.*'] });
    const trained = 4 * (12 * 768 * 768 + 13 * 768 + 2 * 768);
    expect(last).toMatchObject({ parameters: all.parameters, gradients: trained, moments: 2 * trained });
    expect(last.total).toBe(last.parameters + last.gradients + last.moments + last.activations);
    expect(last.activations).toBeLessThanOrEqual(all.activations);
    expect(checkpointCopyBytes(gpt2)).toBe(3 * all.parameters);
    expect(checkpointCopyBytes(gpt2, 'transformer.h.11.*')).toBe(all.parameters + 2 * (trained - 8 * 768));
  });

  it('plans two sequences for each pair, and a head of classes in place of the vocabulary', () => {
    const options = { microBatchSize: 2, pairs: true };
    const single = memoryPerWorker(gpt2, { microBatchSize: 4 });
    // The gradient of its losses is computed from them, not with them.
    expect(memoryPerWorker(gpt2, options).activations / single.activations).toBeCloseTo(1, 1);
    const reward = memoryPerWorker({ ...gpt2, labels: ['reward'] }, options);
    expect(reward.parameters).toBe(single.parameters + 4 * 768);
    expect(reward.activations).toBeLessThan(single.activations);
    const last = memoryPerWorker({ ...gpt2, labels: ['a', 'b'] }, { microBatchSize: 4, trainable: 'head' });
    expect(last).toMatchObject({ gradients: 4 * 2 * 768, moments: 8 * 2 * 768 });
    expect(last.activations).toBeLessThan(single.activations / 7);
  });

  it.each([
    { rank: 8, targets: ['c_attn'] as const, trained: 294_912, adapted: 12 * 3 * 768 * 768, widest: 3 },
    {
      rank: 16,
      targets: ['c_attn', 'c_proj', 'c_fc'] as const,
      trained: 2_359_296,
      adapted: 12 * 12 * 768 * 768,
      widest: 4,
    },
  ])('has moments of $trained parameters with LoRA of rank $rank, and the adapted weights twice', (lora) => {
    const { rank, targets, trained, adapted, widest } = lora;
    const all = memoryPerWorker(gpt2, { microBatchSize: 4 });
    const config: Gpt2Config = { ...gpt2, loraRank: rank, loraTargets: [...targets] };
    const plan = memoryPerWorker(config, { microBatchSize: 4 });
    expect(trainedCount(config, 'all')).toBe(trained);
    expect(trainedCount(config, 'lora')).toBe(trained);
    expect(plan).toMatchObject({ gradients: 4 * trained, moments: 8 * trained });
    // Beside both: scale · Bᵀ of each, and scale · I.
    const small = plan.parameters - all.parameters - 4 * (trained + adapted);
    expect(small).toBeGreaterThan(0);
    expect(small).toBeLessThan(4 * trained);
    expect(plan.total).toBe(plan.parameters + plan.gradients + plan.moments + plan.activations);
    // Backward holds the gradient of one adapted weight at a time, which it does not have without LoRA.
    expect(plan.activations - all.activations).toBeLessThanOrEqual(4 * (widest * 768 * 768 + rank * widest * 768));
    expect(checkpointCopyBytes(config)).toBe(all.parameters + 3 * 4 * trained);
  });

  it('counts the reference of a policy, unless it is the model without its adapters, and no value head in it', () => {
    const [parameters, valueHead] = [4 * 124_439_808, 4 * 768];
    const policy = { count: 16, tokens: 600 };
    const planned = memoryPerWorker({ ...gpt2, valueHead: true }, { microBatchSize: 4, policy });
    const { total, caches, ...parts } = planned;
    expect(parts).toMatchObject({ parameters: parameters + valueHead, reference: parameters });
    // A cache begins with 256 rows and doubles: 1,024 rows of 768 keys and as many values, in 12 layers.
    expect(caches).toBe(16 * 12 * 2 * 4 * 1024 * 768);
    expect(total).toBe(Object.values(parts).reduce((a, b) => a + b));
    const adapted: Gpt2Config = { ...gpt2, loraRank: 8, valueHead: true };
    expect(memoryPerWorker(adapted, { microBatchSize: 4, policy }).reference).toBe(0);
    const both = memoryPerWorker(adapted, {
      microBatchSize: 4,
      policy,
      trainable: ['all', 'transformer.ln_f.*'],
    });
    // With its adapters, and the weights that they give.
    expect(both.reference).toBe(both.parameters - valueHead);
  });

  it('can plan what no machine holds', () => {
    const config = { ...gpt2, nLayer: 512, nHead: 1024, nEmbd: 65_536, blockSize: 65_536 };
    expect(memoryPerWorker(config, { microBatchSize: 1024 }).total).toBeGreaterThan(2 ** 50);
  });
});
