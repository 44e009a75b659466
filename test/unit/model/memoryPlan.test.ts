import { describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../../src/model/config.ts';
import { memoryPerWorker } from '../../../src/model/memoryPlan.ts';

const gpt2: ModelConfig = {
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
const GIB = 2 ** 30;

describe('memoryPerWorker', () => {
  it('adds up, and is within the limits that the engine keeps to for GPT-2', () => {
    const { total, ...parts } = memoryPerWorker(gpt2, { microBatchSize: 4 });
    expect(total).toBe(Object.values(parts).reduce((a, b) => a + b));
    expect(parts.parameters).toBe(4 * 124_439_808);
    expect(total).toBeLessThan(4.5 * GIB);
    const again = memoryPerWorker(gpt2, { microBatchSize: 4, activationRecompute: 'block' });
    expect(again.total).toBeLessThan(2.6 * GIB);
  });

  it('is little more for each layer where blocks are computed again: its input, beside its parameters', () => {
    const activations = (nLayer: number) =>
      memoryPerWorker({ ...gpt2, nLayer }, { microBatchSize: 4, activationRecompute: 'block' }).activations;
    expect(activations(24) - activations(12)).toBe(12 * 4 * 1024 * 768 * 4);
  });

  it('can plan what no machine holds', () => {
    const config = { ...gpt2, nLayer: 512, nHead: 1024, nEmbd: 65_536, blockSize: 65_536 };
    expect(memoryPerWorker(config, { microBatchSize: 1024 }).total).toBeGreaterThan(2 ** 50);
  });
});
