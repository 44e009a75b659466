import { describe, expect, it } from 'vitest';
import { phaseFlops, stepFlops } from '../../../src/architecture/work.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { runStepBench } from '../../../src/bench/stepBench.ts';
import { renderPhases } from '../../../src/bench/stepReport.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { timedEngine } from '../../engines/timedEngine.ts';
import { Float64Engine } from '../../parity/model/float64Engine.ts';
import { tinyConfig } from '../../parity/model/tinyModels.ts';

const optimizer = { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1, gradClip: 1, ema: 0 };

describe('stepFlops', () => {
  it('counts the attention of sequences of another length', () => {
    const [short, long, full] = [1, 5, tinyConfig.blockSize].map((length) => stepFlops(tinyConfig, 10, 'all', length));
    expect(full).toBe(stepFlops(tinyConfig, 10));
    // 6 multiply-adds for each channel of each layer and each of the other tokens.
    expect(long! - short!).toBe(10 * 4 * 6 * tinyConfig.nEmbd * tinyConfig.nLayer);
  });

  it('counts six for each weight that is multiplied, and the causal half of attention', () => {
    const { nLayer: L, nEmbd: C, blockSize: T, vocabSize: V } = tinyConfig;
    const weights = L * 12 * C * C + V * C;
    const attention = L * C * T;
    expect(stepFlops(tinyConfig, 10)).toBe(60 * (weights + attention));
    for (const change of [{ tiedHead: false }, { bias: !tinyConfig.bias }]) {
      expect(stepFlops({ ...tinyConfig, ...change }, 10)).toBe(stepFlops(tinyConfig, 10));
    }
  });

  it('counts the complete head with the forward pass, where its gradients are computed', () => {
    const model = { ...tinyConfig, nLayer: 1, nEmbd: 2, nHead: 1, blockSize: 4, vocabSize: 100, bias: false };
    const layer = 12 * 2 * 2 + 2 * 4; // weights, attention
    expect(phaseFlops(model, 3)).toEqual({ forward: 3 * (2 * layer + 6 * 200), backward: 3 * 4 * layer });
  });
});

describe('runStepBench', () => {
  it('times kernels by the clock of the device where it has one', async () => {
    const native = createNativeEngine({ threads: 1 });
    // On the device each takes much longer than the call that enqueues it here.
    const engine = timedEngine(native, systemClock, {
      kernelMs: (kernel) => (kernel === 'adamw' ? 7 : 1),
      copyMs: () => 0,
    });
    const { kernels } = await runStepBench(engine, {
      model: { ...tinyConfig, nLayer: 1, dropout: 0 },
      train: { globalBatchSize: 1, microBatchSize: 1, activationRecompute: 'none', seed: 1 },
      optimizer,
      steps: 1,
    });
    await engine.dispose();
    expect(kernels.clock).toBe('device');
    for (const { name, calls, msPerStep } of kernels.kernels)
      expect(msPerStep).toBe(calls * (name === 'adamw' ? 7 : 1));
    expect(kernels.kernels.map(({ name }) => name)).toContain('squaredNorm');
  });

  it('relates a step in f16 to the limit of float16 products, as to that of float32', async () => {
    const rates = { float32: 1e9, bf16: undefined, f16: 4e9 };
    const engine = Object.assign(new Float64Engine(), {
      hasFloat16: true,
      unit: 'matrix units',
      peakFlops: async (precision: keyof typeof rates) => rates[precision],
    });
    const { machine, results, kernels } = await runStepBench(engine, {
      model: { ...tinyConfig, nLayer: 1 },
      train: { globalBatchSize: 1, microBatchSize: 1, activationRecompute: 'none', seed: 1 },
      optimizer,
      precision: 'f16',
      steps: 1,
    });
    expect(machine).toMatchObject({ fmaGflops: 1, f16Gflops: 4 });
    expect(machine).not.toHaveProperty('bf16Gflops');
    const { gflops, ofLimit, ofF16Limit } = results[0]!;
    expect([ofLimit, ofF16Limit]).toEqual([gflops, gflops! / 4]);
    expect(renderPhases(results)).toContain('of limit  of f16 limit  tokens/s');
    const product = kernels.kernels.find(({ name }) => name === 'linearForward f16')!;
    expect(product.ofLimit).toBeCloseTo(product.gflops! / 4, 12);
  });

  it('times every phase of complete steps in microbatches', async () => {
    const report = await runStepBench(new Float64Engine(), {
      model: { ...tinyConfig, dropout: 0.1 },
      train: { globalBatchSize: 4, microBatchSize: 2, activationRecompute: 'none', seed: 1 },
      optimizer,
      steps: 3,
    });
    expect(report.tokensPerStep).toBe(4 * tinyConfig.blockSize);
    expect(report.machine).toBeUndefined();
    expect(report.results.map(({ name }) => name)).toEqual(['step', 'forward', 'backward', 'optimizer']);
    const [step, ...phases] = report.results;
    for (const { minMs, medianMs } of report.results) expect(minMs > 0 && medianMs >= minMs).toBe(true);
    expect(phases.reduce((sum, { minMs }) => sum + minMs, 0)).toBeLessThanOrEqual(step!.minMs + 1e-9);
    expect(step!.gflops).toBeCloseTo(stepFlops(tinyConfig, 32) / step!.medianMs / 1e6, 12);
    expect(step!.tokensPerSecond).toBeCloseTo(32_000 / step!.medianMs, 6);
    expect(report.results.map(({ gflops }) => gflops === undefined)).toEqual([false, false, false, true]);
    expect(report.kernels.clock).toBe('host');
  });
});
