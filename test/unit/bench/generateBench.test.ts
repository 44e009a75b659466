import { describe, expect, it } from 'vitest';
import { weightBytes as weightBytesOf } from '../../../src/architecture/work.ts';
import { type GenerateBenchReport, renderGeneration, runGenerateBench } from '../../../src/bench/generateBench.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { Model } from '../../../src/model/model.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../src/model/parameterStore.ts';
import { Float64Engine } from '../../parity/model/float64Engine.ts';
import { tinyConfig } from '../../parity/model/tinyModels.ts';
import { machine } from './someMachine.ts';

const options = { prompts: [1, 4], batches: [1, 3], tokens: 3, runs: 2 };

describe('weightBytesOf', () => {
  it('leaves out the tables of which a token reads one row', () => {
    const { nLayer: L, nEmbd: C, vocabSize: V } = tinyConfig;
    const read = L * (12 * C * C + 13 * C) + 2 * C + V * C;
    expect(weightBytesOf(tinyConfig)).toBe(4 * read);
    expect(weightBytesOf({ ...tinyConfig, tiedHead: false })).toBe(4 * read);
  });
});

describe('runGenerateBench', () => {
  it('times prompts and the tokens after them', async () => {
    const engine = new Float64Engine();
    const model = new Model(
      engine,
      tinyConfig,
      new Parameters(engine, parameterSpecs(tinyConfig), { training: false }),
    );
    const shares: number[] = [];
    const report = await runGenerateBench(engine, model, options, (done) => shares.push(done));
    expect(shares).toEqual(Array.from({ length: 12 }, (_, i) => (i + 1) / 12));
    expect(report).toMatchObject({ ...options, machine: undefined, engine: engine.description });
    expect(report.results.map(({ promptTokens, batch }) => [promptTokens, batch])).toEqual([
      [1, 1],
      [1, 3],
      [4, 1],
      [4, 3],
    ]);
    for (const result of report.results) {
      expect(result.promptTokensPerSecond).toBeCloseTo(
        (1000 * result.batch * result.promptTokens) / result.promptMs,
        9,
      );
      expect(result.tokensPerSecond).toBeCloseTo((1000 * result.batch) / result.medianMs, 9);
      expect(result.minMs > 0 && result.minMs <= result.medianMs).toBe(true);
      for (const absent of ['readGBs', 'ofLimit']) expect(result).not.toHaveProperty(absent);
    }
  });

  it("measures the native engine against the memory's bandwidth", async () => {
    const engine = createNativeEngine({ threads: 1 });
    try {
      const model = new Model(
        engine,
        tinyConfig,
        new Parameters(engine, parameterSpecs(tinyConfig), { training: false }),
      );
      const { machine: on, weightBytes, results } = await runGenerateBench(engine, model, { ...options, runs: 1 });
      expect(on?.threads).toBe(1);
      for (const { medianMs, readGBs, ofLimit } of results) {
        expect(ofLimit).toBeCloseTo(weightBytes / readGBs! / 1e6 / medianMs, 12);
      }
    } finally {
      await engine.dispose();
    }
  });
});

describe('renderGeneration', () => {
  const result = { promptTokens: 16, batch: 1, promptMs: 40, promptTokensPerSecond: 400, medianMs: 20, minMs: 19.5 };
  const report: GenerateBenchReport = {
    ...options,
    machine,
    engine: 'native (avx2, 1 thread)',
    parameters: 124.44e6,
    weightBytes: 494.6e6,
    results: [{ ...result, tokensPerSecond: 50, readGBs: 30, ofLimit: 0.82 }],
  };

  it('shows the limit and how near each token comes', () => {
    expect(renderGeneration(report).split('\n').slice(2)).toEqual([
      'native (avx2, 1 thread): 124.44 M parameters, 3 tokens after the first, 2 runs',
      '494.6 MB of weights; the limit of a token is the time to read them',
      '',
      'prompt tokens  together        ms   tokens/s  then ms a token   min ms   tokens/s  reads GB/s  of limit',
      '           16         1      40.0        400            20.00    19.50       50.0        30.0      82 %',
      '',
    ]);
  });

  it('leaves the limit out where none was measured', () => {
    const text = renderGeneration({ ...report, machine: undefined, results: [{ ...result, tokensPerSecond: 50 }] });
    expect(text).not.toContain('%');
  });
});
