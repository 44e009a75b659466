/** Muon's updates of two tiny models against PyTorch's, on every engine of this machine that the other model suites use. */
import { readFileSync } from 'node:fs';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ModelConfig } from '../../../src/architecture/registry.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { Trainer } from '../../../src/model/training.ts';
import { relativeError } from '../kernels/harness.ts';
import { whyUnavailable } from '../webgpu.ts';
import { Float64Engine } from './float64Engine.ts';

const unavailable = await whyUnavailable(createWebgpuEngine);
if (unavailable !== undefined) process.stdout.write(`webgpu: Muon not run: ${unavailable}\n`);

type Weights = Readonly<Record<string, number[]>>;

/** See makeMuonFixtures.py. */
const fixtures = JSON.parse(readFileSync(new URL('fixtures/muon.json', import.meta.url), 'utf8')) as Readonly<
  Record<'gpt2' | 'transformer', { readonly exact: Readonly<Record<string, Weights>>; readonly default: Weights }>
>;

const shared = { nLayer: 1, nEmbd: 8, blockSize: 4, vocabSize: 11, dropout: 0, tiedHead: true } as const;
const models = {
  gpt2: { architecture: 'gpt2', ...shared, nHead: 2, bias: true, activation: 'gelu' },
  transformer: {
    architecture: 'transformer',
    ...shared,
    nHead: 4,
    nKvHead: 2,
    nInner: 12,
    positions: 'none',
    ropeTheta: 10_000,
    ropeScaling: [],
    norm: 'rms',
    normPlace: 'pre',
    normEps: 1e-5,
    mlp: 'swiglu',
    bias: 'none',
  },
} as const satisfies Record<string, ModelConfig>;

const rates = { learningRate: 0.02, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradClip: 0 };

/** The numbers of makeMuonFixtures.py. */
function mixed(seed: number, size: number): Float32Array {
  return Float32Array.from({ length: size }, (_, i) => {
    let h = (Math.imul(i, 0x9e3779b1) + Math.imul(seed, 0x85ebca77)) >>> 0;
    for (const [shift, factor] of [
      [15, 0x2c1b3c6d],
      [12, 0x297a2d39],
    ] as const) {
      h = Math.imul(h ^ (h >>> shift), factor) >>> 0;
    }
    return ((h ^ (h >>> 15)) >>> 0) / 2 ** 31 - 1;
  });
}

const engines = {
  native: async () => createNativeEngine({ threads: 2 }),
  'tfjs on the cpu': () => createEngine({ name: 'tfjs', deviceKind: 'cpu' }),
  float64: async () => new Float64Engine(),
  webgpu: createWebgpuEngine,
} as const satisfies Record<string, () => Promise<Engine>>;

async function opened(name: keyof typeof engines): Promise<Engine> {
  const engine = await engines[name]();
  onTestFinished(() => engine.dispose());
  return engine;
}

/** The largest error of a weight after some updates with the gradients of the fixtures, relative to the largest weight. */
async function errorAfter(engine: Engine, name: keyof typeof models, updates: number, expected: Weights) {
  const trainer = new Trainer(engine, models[name], { seed: 1, muon: true });
  const { parameters } = trainer;
  const fill = (block: 'params' | 'grads', step: number, scale: number) => {
    for (const [i, parameter] of Object.keys(expected).entries()) {
      const index = parameters.indexOf(parameter);
      const values = mixed(1000 * (i + 1) + step, parameters.specs[index]!.size);
      parameters.writeTensor(block, index, scale === 1 ? values : values.map((value) => value * scale));
    }
  };
  fill('params', 0, 1);
  for (let step = 1; step <= updates; step++) {
    fill('grads', step, Math.fround(0.01));
    await trainer.applyAdamw({ ...rates, step });
  }
  let error = 0;
  for (const [parameter, values] of Object.entries(expected)) {
    const into = new Float32Array(values.length);
    await parameters.readTensor('params', parameters.indexOf(parameter), into);
    error = Math.max(error, relativeError(into, Float64Array.from(values)));
  }
  return error;
}

const names = (Object.keys(engines) as (keyof typeof engines)[]).filter(
  (name) => name !== 'webgpu' || unavailable === undefined,
);

describe.each(names)('Muon on %s', (name) => {
  it.each(['gpt2', 'transformer'] as const)('updates the weights of %s like PyTorch', async (model) => {
    const engine = await opened(name);
    const { exact, default: rounded } = fixtures[model];
    expect(await errorAfter(engine, model, 1, exact['1']!)).toBeLessThan(1e-6);
    expect(await errorAfter(engine, model, 20, exact['20']!)).toBeLessThan(1e-5);
    // PyTorch's own iterations are in bfloat16.
    expect(await errorAfter(engine, model, 1, rounded)).toBeLessThan(1e-3);
  });
});
