/** Complete training steps of one replica on random tokens, one at a time: what the benches time. */
import type { ModelConfig } from '../architecture/registry.ts';
import { isTrainedBy } from '../architecture/trainable.ts';
import { randomKey, randomUniform } from '../base/counterRandom.ts';
import type { Config } from '../config/configTypes.ts';
import type { Engine } from '../engine/engine.ts';
import { type PhaseTimes, Trainer } from '../model/training.ts';
import { type TokenBatch, tokenBatch } from '../task/nextToken.ts';

/** A model and how it is trained. */
export interface TrainedShape {
  readonly model: ModelConfig;
  readonly train: Pick<Config['train'], 'globalBatchSize' | 'microBatchSize' | 'activationRecompute' | 'seed'> &
    Partial<Pick<Config['train'], 'trainable'>>;
  readonly optimizer: Omit<Config['optimizer'], 'kind' | 'momentum'> &
    Partial<Pick<Config['optimizer'], 'kind' | 'momentum'>>;
  readonly precision?: Config['engine']['precision'] | undefined;
}

/** Milliseconds of one step, all its microbatches together. */
export interface StepTimes extends PhaseTimes {
  optimizerMs: number;
}

export function totalMs({ forwardMs, backwardMs, optimizerMs }: StepTimes): number {
  return forwardMs + backwardMs + optimizerMs;
}

/** One replica that trains on random tokens, a step at a time. */
export class StepRunner {
  readonly #engine: Engine;
  readonly #options: TrainedShape;
  readonly #trainer: Trainer;
  #step = 0;

  constructor(engine: Engine, options: TrainedShape) {
    this.#engine = engine;
    this.#options = options;
    this.#trainer = new Trainer(engine, options.model, {
      seed: options.train.seed,
      activationRecompute: options.train.activationRecompute,
      precision: options.precision,
      isTrained: isTrainedBy(options.train.trainable ?? 'all'),
      averaged: options.optimizer.ema > 0,
      muon: options.optimizer.kind === 'muon',
    });
  }

  async step(): Promise<StepTimes> {
    const { model, train, optimizer } = this.#options;
    const step = ++this.#step;
    const times: StepTimes = { forwardMs: 0, backwardMs: 0, optimizerMs: 0 };
    const microBatches = train.globalBatchSize / train.microBatchSize;
    for (let index = 0; index < microBatches; index++) {
      await this.#trainer.microStep({
        ...randomBatch(model, train.microBatchSize, randomKey(train.seed, step, index)),
        lossScale: 1 / (train.globalBatchSize * model.blockSize),
        dropout: { seed: train.seed, step, firstSample: index * train.microBatchSize },
        phaseTimes: times,
      });
    }
    const start = performance.now();
    await this.#trainer.applyAdamw({ ...optimizer, step, learningRate: 1e-4 });
    await this.#engine.finish();
    times.optimizerMs = performance.now() - start;
    return times;
  }
}

function randomBatch(
  { vocabSize, blockSize }: ModelConfig,
  batchSize: number,
  key: ReturnType<typeof randomKey>,
): TokenBatch {
  const token = (i: number): number => Math.floor(randomUniform(key, i) * vocabSize);
  const size = batchSize * blockSize;
  const tokens = Int32Array.from({ length: size }, (_, i) => token(i));
  return tokenBatch(
    tokens,
    tokens.map((_, i) => token(i + 1)),
    blockSize,
  );
}
