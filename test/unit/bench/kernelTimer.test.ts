import { describe, expect, it } from 'vitest';
import { KernelTimer } from '../../../src/bench/kernelTimer.ts';
import { StepRunner, type TrainedShape } from '../../../src/bench/stepRunner.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import type { Tensor } from '../../../src/engine/tensor.ts';
import { Trainer } from '../../../src/model/training.ts';
import { Float64Engine } from '../../parity/model/float64Engine.ts';
import { randomBatch, tinyConfig } from '../../parity/model/tinyModels.ts';

const optimizer = { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1, gradClip: 1, ema: 0 };
const shape: TrainedShape = {
  model: tinyConfig,
  train: { globalBatchSize: 2, microBatchSize: 2, activationRecompute: 'none', seed: 1 },
  optimizer,
};

describe('KernelTimer', () => {
  it('changes no result', async () => {
    const inner = new Float64Engine();
    const trainers = [new Trainer(inner, tinyConfig, { seed: 1 })];
    const timer = new KernelTimer(new Float64Engine());
    trainers.push(new Trainer(timer.engine, tinyConfig, { seed: 1 }));
    const train = async (trainer: Trainer): Promise<number[]> => {
      const losses: number[] = [];
      for (let step = 1; step <= 3; step++) {
        const batch = randomBatch(tinyConfig, { seed: step, batchSize: 2 });
        losses.push((await trainer.microStep({ ...batch, lossScale: 1 / 16 })).loss);
        const { gradNorm } = await trainer.applyAdamw({ ...optimizer, step, learningRate: 1e-2 });
        losses.push(gradNorm);
        trainer.zeroGrads();
      }
      return losses;
    };
    const plain = await train(trainers[0]!);
    expect(await train(trainers[1]!)).toEqual(plain);
    const { result } = await timer.timed(() => train(new Trainer(timer.engine, tinyConfig, { seed: 1 })));
    expect(result).toEqual(plain);
    expect(timer.engine.memory().bytesPeak).toBeGreaterThan(0);
  });

  it('times every kernel that an engine runs, those that resolve later too, and only while it is told to', async () => {
    const called: string[] = [];
    // Every method of the engine that computes, found by looking at what a training step calls.
    const spy = new Proxy(new Float64Engine(), {
      get: (target, key) => {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== 'function') return member;
        return (...args: unknown[]) => {
          called.push(String(key));
          return Reflect.apply(member, target, args) as unknown;
        };
      },
    });
    const timer = new KernelTimer(spy);
    const runner = new StepRunner(timer.engine, shape);
    await runner.step();
    called.length = 0;
    const { calls } = await timer.timed(() => runner.step());
    const others = ['alloc', 'release', 'upload', 'download', 'hostRange', 'finish'];
    expect(calls.map(({ kernel }) => kernel)).toEqual(called.filter((name) => !others.includes(name)));
    expect(calls.map(({ kernel }) => kernel)).toContain('squaredNorm');
    for (const { ms, bytes } of calls) expect(ms >= 0 && bytes > 0).toBe(true);
  });

  it('times kernels that it has never heard of', async () => {
    const tensor: Tensor = { shape: [2, 3], dtype: 'float32', size: 6 };
    const timer = new KernelTimer({ fused: () => 'result' } as unknown as Engine);
    const { fused } = timer.engine as unknown as { fused(options: object): string };
    const { calls, result } = await timer.timed(async () => fused({ out: tensor, more: { saved: tensor }, rate: 1 }));
    expect(result).toBe('result');
    expect(calls).toMatchObject([{ kernel: 'fused', shape: '2×3', bytes: 48 }]);
  });

  it('lets errors of kernels through, and is ready for the next time', async () => {
    const timer = new KernelTimer(new Float64Engine());
    await expect(timer.timed(async () => timer.engine.add(undefined as never))).rejects.toThrow();
    expect((await timer.timed(async () => 1)).calls).toEqual([]);
  });
});
