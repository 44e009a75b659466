/** What the native engine takes and keeps of memory, beside the estimate of `--dry-run`. What the process takes: residentMemory.test.ts. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { createNativeEngine, type NativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import type { ActivationRecompute, Precision } from '../../../src/model/computing.ts';
import { generate } from '../../../src/model/generate.ts';
import { memoryPerWorker } from '../../../src/model/memoryPlan.ts';
import { Trainer } from '../../../src/model/training.ts';
import { sourceBatch, tinyEncoderDecoder, translation } from './sourceBatches.ts';
import { dropoutSource, randomBatch } from './tinyModels.ts';

const gpt: Gpt2Config = {
  architecture: 'gpt2',
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

let engine: NativeEngine;
beforeEach(() => {
  engine = createNativeEngine({ threads: 1 });
});
afterEach(async () => engine.dispose());

interface Options {
  readonly activationRecompute: ActivationRecompute;
  readonly precision: Precision;
}

function trainerOf(config: Gpt2Config, options?: Options): Trainer {
  return new Trainer(engine, config, { seed: 1, ...options });
}

async function microStep(trainer: Trainer, batchSize: number): Promise<void> {
  const batch = randomBatch(trainer.model.config, { seed: 1, batchSize });
  await trainer.microStep({ ...batch, lossScale: 1, dropout: dropoutSource() });
}

describe.each<Options>([
  { activationRecompute: 'none', precision: 'float32' },
  { activationRecompute: 'block', precision: 'float32' },
  { activationRecompute: 'none', precision: 'bf16' },
  { activationRecompute: 'block', precision: 'bf16' },
])('memoryPerWorker, $precision, activationRecompute $activationRecompute', (options) => {
  it.each([
    { name: 'activations lead', config: gpt, microBatchSize: 8 },
    { name: 'logits lead', config: { ...gpt, vocabSize: 8000, nLayer: 1, nEmbd: 32 }, microBatchSize: 4 },
    { name: 'parameters lead', config: { ...gpt, blockSize: 8, nEmbd: 256 }, microBatchSize: 1 },
    { name: 'dropout, untied', config: { ...gpt, dropout: 0.1, tiedHead: false }, microBatchSize: 8 },
    { name: 'many small heads', config: { ...gpt, nHead: 32, bias: false }, microBatchSize: 4 },
    { name: 'several slabs', config: { ...gpt, blockSize: 256, nEmbd: 256 }, microBatchSize: 8 },
  ])('is what the engine takes for a step: $name', async ({ config, microBatchSize }) => {
    const trainer = trainerOf(config, options);
    const { total, activations } = memoryPerWorker(config, { microBatchSize, ...options });
    expect(engine.memory().bytesInUse).toBe(total - activations);
    await microStep(trainer, microBatchSize);
    const { bytesInUse, bytesPooled, bytesPeak } = engine.memory();
    expect([bytesInUse + bytesPooled, bytesPeak]).toEqual([total, total]);
  });
});

it.each(['none', 'block'] as const)(
  'is what the engine takes for a step of an encoder–decoder, activationRecompute %s',
  async (activationRecompute) => {
    const config = { ...tinyEncoderDecoder, blockSize: 48, nEmbd: 96, nInner: 384, dropout: 0.1 };
    const trainer = new Trainer(engine, config, { seed: 1, activationRecompute, objective: translation });
    const { total, activations } = memoryPerWorker(config, { microBatchSize: 4, activationRecompute });
    expect(engine.memory().bytesInUse).toBe(total - activations);
    const full = sourceBatch(config, Array(4).fill([48, 48]));
    await trainer.microStep({ ...full, lossScale: 1, dropout: dropoutSource() });
    expect(engine.memory().bytesPeak).toBe(total);
  },
);

describe('memory stays', () => {
  it('that of the largest microbatch, whatever sizes come after it', async () => {
    const trainer = trainerOf(gpt);
    await microStep(trainer, 12);
    const { bytesPeak } = engine.memory();
    expect(bytesPeak).toBe(memoryPerWorker(gpt, { microBatchSize: 12 }).total);
    for (const size of [5, 1, 11, 7, 12, 2, 3]) await microStep(trainer, size);
    expect(engine.memory().bytesPeak).toBe(bytesPeak);
  });

  it('that of the longest context while a context grows token by token', async () => {
    const config = { ...gpt, blockSize: 96 };
    const longest = createNativeEngine({ threads: 1 });
    const peaks: number[] = [];
    for (const [on, prompt] of [
      [longest, 96],
      [engine, 1],
    ] as const) {
      const { model } = new Trainer(on, config, { seed: 1 });
      const options = { prompt: new Int32Array(prompt), maxTokens: 100, temperature: 1, topK: 0, topP: 1, seed: 1 };
      for await (const _ of generate(on, model, { ...options, useCache: false }));
      peaks.push(on.memory().bytesPeak);
    }
    await longest.dispose();
    expect(peaks[1]! / peaks[0]!).toBeLessThan(1.05);
  });
});
