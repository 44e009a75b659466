/** The estimate of `--dry-run` against what the native engine really holds. */
import { describe, expect, it } from 'vitest';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import type { ModelConfig } from '../../../src/model/config.ts';
import { memoryPerWorker } from '../../../src/model/parameters.ts';
import { Trainer } from '../../../src/model/training.ts';
import { dropoutSource, randomBatch } from './tinyModels.ts';

const gpt: ModelConfig = {
  vocabSize: 65,
  blockSize: 64,
  nLayer: 4,
  nHead: 4,
  nEmbd: 128,
  dropout: 0,
  bias: true,
  activation: 'gelu',
  tiedHead: true,
};

describe('memoryPerWorker', () => {
  it.each([
    { name: 'activations lead', config: gpt, microBatchSize: 8 },
    { name: 'logits lead', config: { ...gpt, vocabSize: 8000, nLayer: 1, nEmbd: 32 }, microBatchSize: 4 },
    { name: 'parameters lead', config: { ...gpt, blockSize: 8, nEmbd: 256 }, microBatchSize: 1 },
    { name: 'dropout, untied', config: { ...gpt, dropout: 0.1, tiedHead: false }, microBatchSize: 8 },
    { name: 'many small heads', config: { ...gpt, nHead: 32, bias: false }, microBatchSize: 4 },
  ])('is what the engine holds after a step, to 1 %: $name', async ({ config, microBatchSize }) => {
    const engine = createNativeEngine({ threads: 1 });
    const trainer = new Trainer(engine, config, { seed: 1 });
    const estimate = memoryPerWorker(config, { microBatchSize });
    const held = () => engine.memory().bytesInUse + engine.memory().bytesPooled;
    const state = estimate.parameters + estimate.gradients + estimate.moments;
    expect(Math.abs(held() / state - 1)).toBeLessThan(0.01);

    const batch = randomBatch(config, { seed: 1, batchSize: microBatchSize });
    await trainer.microStep({ ...batch, lossScale: 1, dropout: dropoutSource(microBatchSize) });
    expect(Math.abs(held() / estimate.total - 1), `${held()} held, ${estimate.total} estimated`).toBeLessThan(0.01);
    expect(engine.memory().bytesPeak).toBeLessThanOrEqual(estimate.total * 1.01);
    await engine.dispose();
  });
});
