/** A few training steps of a small model, to be compared between engines. */
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { type Batch, samplesOf } from '../../../src/base/batch.ts';
import { meansOf } from '../../../src/base/sums.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import type { Precision } from '../../../src/model/computing.ts';
import { Trainer } from '../../../src/model/training.ts';
import { targetsOf } from '../../../src/task/nextToken.ts';
import { fixtureTraining } from './pytorchFixtures.ts';
import { dropoutSource, randomBatch, tinyConfig } from './tinyModels.ts';

export const stepsConfig: Gpt2Config = {
  ...tinyConfig,
  vocabSize: 65,
  blockSize: 32,
  nLayer: 2,
  nHead: 4,
  nEmbd: 64,
  dropout: 0.1,
};
/** @param learningRate a low one keeps rounding small: AdamW's first updates have the size of the rate, whatever that of the gradient */
export async function stepsOf(engine: Engine, steps: number, precision: Precision = 'float32', learningRate = 1e-2) {
  const trainer = new Trainer(engine, stepsConfig, { seed: 3, precision });
  const batch = randomBatch(stepsConfig, { seed: 9, batchSize: 6 });
  const results: { loss: number; gradNorm: number }[] = [];
  for (let index = 1; index <= steps; index++) results.push(await stepOf(trainer, batch, index, learningRate));
  return results;
}

/** One update with the gradients of two microbatches. */
export async function stepOf(trainer: Trainer, batch: Batch, index: number, learningRate = 1e-2) {
  const half = batch.sampleCount / 2;
  let sums = { loss: 0, weight: 0 };
  for (const first of [0, half]) {
    const part = samplesOf(batch, first, half);
    const microStep = { ...part, lossScale: 1 / targetsOf(batch), dropout: { ...dropoutSource(first), step: index } };
    const { loss, weight } = await trainer.microStep(microStep);
    sums = { loss: sums.loss + loss, weight: sums.weight + weight };
  }
  const { gradNorm } = await trainer.applyAdamw({ ...fixtureTraining.optimizer, learningRate, step: index });
  return { loss: meansOf(sums).loss, gradNorm };
}
