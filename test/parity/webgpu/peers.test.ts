/** The benches of the webgpu engine: limits and rows of its own, and for other libraries a row or what to install. */
import { expect, it } from 'vitest';
import { runEngineBench } from '../../../bench/engine/engineBench.ts';
import { runTrainingPeers } from '../../../bench/training/trainingPeers.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { tinyConfig } from '../model/tinyModels.ts';
import { whyUnavailable } from '../webgpu.ts';

const unavailable = await whyUnavailable(createWebgpuEngine);
const engine = unavailable === undefined ? await createWebgpuEngine() : undefined;
const hasHalf = engine?.hasFloat16 === true;
await engine?.dispose();
const libraries = ['TensorFlow.js', 'jax-js'];

it.skipIf(unavailable !== undefined)('training steps in both precisions, by their limits', async () => {
  const shape = {
    name: 'tiny',
    model: { ...tinyConfig, nLayer: 1 },
    train: { globalBatchSize: 2, microBatchSize: 2, seed: 1, activationRecompute: 'none' as const },
    optimizer: { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1, gradClip: 1, ema: 0 },
  };
  const { machine, results, missing } = await runTrainingPeers({
    engine: 'webgpu',
    shapes: [shape],
    threads: 0,
    python: '',
    compiled: false,
    precisions: hasHalf ? ['float32', 'f16'] : ['float32'],
    secondsPerShape: 0,
  });
  const [float32, half] = results;
  expect(float32!.name).toBe('Lockstep float32');
  // The limits are measured again afterwards, and the better ones count.
  expect(float32!.gflops / float32!.ofLimit).toBeGreaterThanOrEqual(machine.fmaGflops * 0.999);
  if (hasHalf) expect(half!.gflops / half!.ofLimit).toBeGreaterThanOrEqual(machine.f16Gflops! * 0.999);
  const others = results.filter(({ name }) => !name.startsWith('Lockstep'));
  expect(float32!.timesOthers !== undefined).toBe(others.length > 0);
  expect(others.length + missing.length).toBe(libraries.length);
  expect(missing.every((note) => /is not compared with: .*\(?npm install/.test(note))).toBe(true);
});

it.skipIf(unavailable !== undefined)('products, whose factors are float32 or rounded to float16', async () => {
  const options = { engine: { name: 'webgpu' as const }, peers: true, only: /linearForward N.* 768×128×65$/ };
  const { peers, missingPeers, results } = await runEngineBench(options);
  expect(peers.length + missingPeers.length).toBe(libraries.length);
  for (const { name, peers: times } of results) {
    expect(Object.keys(times)).toEqual(name.endsWith('f16') ? [] : peers.map((peer) => peer.name));
  }
});
