/** What the kernel suite does not see: leaks, and several engines in one thread. */
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../../src/base/errors.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import type { Tensor } from '../../../src/engine/tensor.ts';
import type { TfjsDeviceKind } from '../../../src/engine/tfjs/deviceKinds.ts';
import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';

/** All that TensorFlow.js holds in this thread, whichever engine made it. */
const liveTensors = () => tf.engine().state.numTensors;

/** A forward and backward pass through every kernel that a training step uses. */
async function trainingStep(engine: Engine): Promise<number> {
  const [batchSize, time, nHead, c, v] = [2, 4, 2, 6, 11];
  const n = batchSize * time;
  const live: ReturnType<Engine['alloc']>[] = [];
  const alloc = (...shape: number[]) => {
    const tensor = engine.alloc(shape);
    live.push(tensor);
    engine.upload(
      tensor,
      Float32Array.from({ length: tensor.size }, (_, i) => Math.sin(i + shape.length)),
    );
    return tensor;
  };
  const tokens = engine.alloc([batchSize, time], 'int32');
  live.push(tokens);
  engine.upload(
    tokens,
    Int32Array.from({ length: n }, (_, i) => i % v),
  );
  const dropout = { rate: 0.5, seed: 1, step: 2, firstSample: 3, site: 4 };
  const [wte, dwte, x, qkv, dqkv] = [
    alloc(v, c),
    alloc(v, c),
    alloc(batchSize, time, c),
    alloc(batchSize, time, 3 * c),
    alloc(batchSize, time, 3 * c),
  ];
  const [weight, dweight, out, lse] = [
    alloc(c, 3 * c),
    alloc(c, 3 * c),
    alloc(batchSize, time, c),
    alloc(2, batchSize, nHead, time),
  ];
  const [gain, dgain, mean, rstd, normed] = [alloc(c), alloc(c), alloc(n), alloc(n), alloc(batchSize, time, c)];
  const [logits, losses, m, second] = [alloc(n, v), alloc(n), alloc(v, c), alloc(v, c)];
  engine.zero(second);
  engine.embeddingForward({ out: x, tokens, wte });
  engine.dropout({ out: x, inp: x, dropout });
  engine.layerNormForward({ out: normed, mean, rstd, inp: x, weight: gain, eps: 1e-5 });
  engine.linearForward({ out: qkv, inp: normed, weight });
  engine.attentionForward({ qkv, nHead, lse, out, dropout });
  engine.activationForward({ kind: 'gelu', out, inp: out });
  engine.linearForward({ out: logits, inp: out, weight: wte, weightTransposed: true });
  engine.crossEntropy({ losses, logits, targets: tokens, dlogits: logits, scale: 1 / n });
  engine.linearBackward({ inp: out, weight: wte, weightTransposed: true, dout: logits, dinp: x, dweight: dwte });
  engine.attentionBackward({ qkv, nHead, lse, out, dout: x, dqkv, dropout });
  engine.linearBackward({ inp: normed, weight, dout: dqkv, dinp: x, dweight });
  engine.layerNormBackward({ dinp: x, dweight: dgain, dout: x, inp: normed, weight: gain, mean, rstd });
  engine.embeddingBackward({ dout: x, tokens, dwte });
  const settings = { learningRate: 0.1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: [0.1], step: 1, gradScale: 1 };
  const group = (tensor: Tensor) => ({ tensors: [tensor], offsets: [0], length: tensor.size });
  const groups = { params: group(wte), grads: group(dwte), m: group(m), v: group(second) };
  engine.adamw({ ...groups, ...settings });
  const result = new Float32Array(losses.size);
  await engine.download(losses, result);
  for (const tensor of live) engine.release(tensor);
  return result.reduce((sum, loss) => sum + loss, 0);
}

describe.each(['cpu', 'wasm'] satisfies TfjsDeviceKind[])('tfjs engine on %s', (device) => {
  it('holds no more tensors after a step than before it, and none at its end', async () => {
    const before = liveTensors();
    const engine = await createTfjsEngine({ deviceKind: device });
    const group = engine.allocGroup([[3, 4], [5]]);
    await engine.squaredNorm(group);
    await trainingStep(engine);
    const held = liveTensors();
    const memory = engine.memory();
    for (let step = 0; step < 3; step++) {
      await trainingStep(engine);
      await engine.squaredNorm(group);
    }
    expect(liveTensors()).toBe(held);
    expect(engine.memory()).toEqual(memory);
    expect(memory.bytesInUse).toBe(4 * (12 + 5));
    expect(memory.bytesPeak).toBeGreaterThan(memory.bytesInUse);
    await engine.dispose();
    expect(liveTensors()).toBe(before);
  });

  it('can be started again after it was disposed of', async () => {
    for (let run = 0; run < 2; run++) {
      const engine = await createTfjsEngine({ deviceKind: device });
      expect(await trainingStep(engine)).toBeGreaterThan(0);
      await engine.dispose();
    }
  });

  it('refuses a tensor that was released', async () => {
    const engine = await createTfjsEngine({ deviceKind: device });
    const tensor = engine.alloc([2]);
    engine.release(tensor);
    expect(() => engine.zero(tensor)).toThrow(InvariantError);
    await engine.dispose();
  });
});

describe('several tfjs engines', () => {
  it('on different devices compute the same in one thread, turn by turn', async () => {
    const [cpu, wasm, other] = [
      await createTfjsEngine({ deviceKind: 'cpu' }),
      await createTfjsEngine({ deviceKind: 'wasm' }),
      await createTfjsEngine({ deviceKind: 'wasm' }),
    ];
    const losses = await Promise.all([cpu, wasm, other, cpu].map(trainingStep));
    for (const loss of losses) expect(loss).toBeCloseTo(losses[0]!, 4);
    await other.dispose();
    expect(await trainingStep(wasm)).toBeCloseTo(losses[0]!, 4);
    await wasm.dispose();
    await cpu.dispose();
  });
});
