/** A run directory with a checkpoint of a tiny, briefly trained model over a small text, made with the engine `tfjs cpu`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { openDataset } from '../../../src/data/openDataset.ts';
import { trainBatch, valBatches } from '../../../src/data/sampler.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { Trainer } from '../../../src/model/training.ts';
import { saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';

export const cpu = { name: 'tfjs', deviceKind: 'cpu' } as const;
export const blockSize = 8;
const text = 'the cat sat on the mat, naïve as ever. '.repeat(30);

export interface TrainedRun {
  /** The run directory; its text is `text.txt` in it. */
  readonly folder: string;
  readonly modelConfig: Gpt2Config;
  /** The mean loss over the validation split, by the trainer itself. */
  readonly valLoss: () => Promise<number>;
  readonly dispose: () => Promise<void>;
}

/** Trains for a few steps in `folder` and writes the checkpoint of each of `steps`, with the validation losses that are given. */
export async function trainRun(
  folder: string,
  options: { steps?: number[]; model?: Partial<Gpt2Config>; valLosses?: Record<number, number> } = {},
): Promise<TrainedRun> {
  const textPath = join(folder, 'text.txt');
  mkdirSync(folder, { recursive: true });
  writeFileSync(textPath, text);
  const config = { data: { text: textPath }, sample: { prompt: 'the ', maxTokens: 12 } };
  const data = { text: textPath, tokenizer: 'char', valFraction: 0.1 } as const;
  const dataset = await openDataset(data, { blockSize, cwd: folder });
  const modelConfig: Gpt2Config = {
    architecture: 'gpt2',
    vocabSize: dataset.vocabSize,
    blockSize,
    nLayer: 2,
    nHead: 2,
    nEmbd: 8,
    dropout: 0,
    bias: true,
    activation: 'gelu',
    tiedHead: true,
    ...options.model,
  };
  const engine = await createEngine(cpu);
  const trainer = new Trainer(engine, modelConfig, { seed: 7 });
  const adamw = { learningRate: 0.03, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, gradClip: 1 };
  const steps = options.steps ?? [5];
  for (let step = 0; step < Math.max(...steps); step++) {
    const batch = trainBatch(dataset, {
      seed: 7,
      step,
      from: 0,
      count: 4,
      globalBatchSize: 4,
      blockSize,
      sampler: 'random',
    });
    trainer.zeroGrads();
    await trainer.microStep({ ...batch, lossScale: 1 / batch.weight });
    await trainer.applyAdamw({ ...adamw, step: step + 1 });
    if (!steps.includes(step + 1)) continue;
    const valLoss = options.valLosses?.[step + 1];
    const measured = valLoss === undefined ? {} : { valLoss };
    await saveCheckpoint('checkpoints', trainer, { step: step + 1, dataset, config, cwd: folder, ...measured });
  }
  const valLoss = async (): Promise<number> => {
    let sum = 0;
    for (const batch of valBatches(dataset.val, { blockSize, batchSize: 1 }))
      sum += (await trainer.evaluate(batch)).loss;
    return sum / (dataset.val.length - 1);
  };
  return { folder, modelConfig, valLoss, dispose: () => engine.dispose() };
}
