/**
 * Times whole training steps of one replica, without data, network or checkpoints: forward, backward and AdamW, on random
 * tokens. What a step is worth is counted as 6 · P · tokens for the matrix products (2 forward, 4 backward; P their
 * weights) plus 6 · nLayer · nEmbd · T · tokens for attention, of whose T × T scores the causal half is counted.
 */
import { randomKey, randomUniform } from '../base/counterRandom.ts';
import type { Config } from '../config/schema.ts';
import type { Engine } from '../engine/engine.ts';
import type { ModelConfig } from '../model/config.ts';
import { parameterCount } from '../model/parameters.ts';
import { type Batch, type PhaseTimes, Trainer } from '../model/training.ts';
import { type Machine, measureMachine } from './machine.ts';

export const stepFlopFormula =
  '6 * matmulParameters * tokens + 6 * nLayer * nEmbd * blockSize * tokens (attention, the causal half)';

export interface StepBenchOptions {
  readonly model: ModelConfig;
  readonly train: Pick<Config['train'], 'globalBatchSize' | 'microBatchSize' | 'seed'>;
  readonly optimizer: Config['optimizer'];
  /** Steps timed, after two that are not. */
  readonly steps: number;
  /** Of the machine's limit, measured beside the steps; 0: one for each core. */
  readonly threads: number;
}

export interface StepBenchResult {
  /** The whole step, or one of its phases. */
  readonly name: 'step' | 'forward' | 'backward' | 'optimizer';
  readonly shape: string;
  readonly medianMs: number;
  readonly minMs: number;
  /** 10^9 floating-point operations a second, by the median time and `formula`; absent for the optimizer. */
  readonly gflops?: number;
  /** `gflops` over the machine's `fmaGflops`; absent without the native engine, which measures that. */
  readonly ofLimit?: number;
  readonly tokensPerSecond?: number;
}

export interface StepBenchReport {
  readonly machine: Machine | undefined;
  readonly engine: string;
  readonly parameters: number;
  readonly tokensPerStep: number;
  readonly formula: string;
  readonly results: readonly StepBenchResult[];
}

export async function runStepBench(engine: Engine, options: StepBenchOptions): Promise<StepBenchReport> {
  const { model, train, steps } = options;
  const samples = await timeSteps(engine, options);
  // On the engine's machine right after the steps, so that both see the same neighbours and the same clock.
  const machine = engine.name === 'native' ? await measureMachine({ threads: options.threads }) : undefined;

  const tokensPerStep = train.globalBatchSize * model.blockSize;
  const flops = stepFlops(model, tokensPerStep);
  const shape = `B ${train.globalBatchSize} T ${model.blockSize} C ${model.nEmbd} L ${model.nLayer} V ${model.vocabSize}`;
  const result = (name: StepBenchResult['name'], times: number[], share: number): StepBenchResult => {
    const medianMs = median(times);
    const gflops = (share * flops) / medianMs / 1e6;
    return {
      name,
      shape,
      medianMs,
      minMs: Math.min(...times),
      ...(share > 0 && { gflops }),
      ...(share > 0 && machine && { ofLimit: gflops / machine.fmaGflops }),
      ...(name === 'step' && { tokensPerSecond: (1000 * tokensPerStep) / medianMs }),
    };
  };
  const column = (phase: keyof StepTimes): number[] => samples.map((sample) => sample[phase]);
  const totals = samples.map(({ forwardMs, backwardMs, optimizerMs }) => forwardMs + backwardMs + optimizerMs);
  const results = [
    result('step', totals, 1),
    result('forward', column('forwardMs'), 1 / 3),
    result('backward', column('backwardMs'), 2 / 3),
    result('optimizer', column('optimizerMs'), 0),
  ];
  const parameters = parameterCount(model);
  return {
    machine,
    engine: `${engine.description}, ${steps} steps`,
    parameters,
    tokensPerStep,
    formula: stepFlopFormula,
    results,
  };
}

/** Floating-point operations of one forward and backward pass over `tokens` tokens. */
export function stepFlops(model: ModelConfig, tokens: number): number {
  const { nLayer, nEmbd, blockSize, vocabSize } = model;
  // The position table is only looked up, and so is a token table that is not the head as well.
  const lookedUp = nEmbd * (blockSize + (model.tiedHead ? 0 : vocabSize));
  const matmulParameters = parameterCount(model) - lookedUp;
  return 6 * tokens * (matmulParameters + nLayer * nEmbd * blockSize);
}

interface StepTimes extends PhaseTimes {
  optimizerMs: number;
}

async function timeSteps(engine: Engine, { model, train, optimizer, steps }: StepBenchOptions): Promise<StepTimes[]> {
  const trainer = new Trainer(engine, model, { seed: train.seed });
  const samples: StepTimes[] = [];
  const warmUpSteps = 2;
  for (let step = 1; step <= warmUpSteps + steps; step++) {
    const times: StepTimes = { forwardMs: 0, backwardMs: 0, optimizerMs: 0 };
    const microBatches = train.globalBatchSize / train.microBatchSize;
    for (let index = 0; index < microBatches; index++) {
      const first = index * train.microBatchSize;
      await trainer.microStep({
        ...randomBatch(model, train.microBatchSize, randomKey(train.seed, step, index)),
        lossScale: 1 / (train.globalBatchSize * model.blockSize),
        dropout: {
          seed: train.seed,
          step,
          sampleIndices: Array.from({ length: train.microBatchSize }, (_, i) => first + i),
        },
        phaseTimes: times,
      });
    }
    const start = performance.now();
    await trainer.applyAdamw({ ...optimizer, step, learningRate: 1e-4 });
    trainer.zeroGrads();
    await engine.finish();
    times.optimizerMs = performance.now() - start;
    if (step > warmUpSteps) samples.push(times);
  }
  return samples;
}

function randomBatch(
  { vocabSize, blockSize }: ModelConfig,
  batchSize: number,
  key: ReturnType<typeof randomKey>,
): Batch {
  const token = (i: number): number => Math.floor(randomUniform(key, i) * vocabSize);
  const size = batchSize * blockSize;
  return {
    tokens: Int32Array.from({ length: size }, (_, i) => token(i)),
    targets: Int32Array.from({ length: size }, (_, i) => token(i + 1)),
    batchSize,
    blockSize,
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
