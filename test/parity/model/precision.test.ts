/** Training with precision bf16 beside float32: gradients within the rounding of bfloat16, and loss curves that stay together. */
import { afterEach, describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../../src/architecture/registry.ts';
import { createNativeEngine, type NativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import type { Tensor } from '../../../src/engine/tensor.ts';
import type { Precision } from '../../../src/model/computing.ts';
import type { Objective } from '../../../src/model/objectives/objective.ts';
import type { Parameter } from '../../../src/model/parameter.ts';
import { Tape } from '../../../src/model/tape.ts';
import { type MicroStepOptions, Trainer } from '../../../src/model/training.ts';
import { targetsOf } from '../../../src/task/nextToken.ts';
import { toBfloat16 } from '../kernels/bfloat16.ts';
import { seededIntegers, seededValues } from '../kernels/harness.ts';
import { encoderDecoderVariants, sourceBatch, translation } from './sourceBatches.ts';
import { dropoutSource, randomBatch, tinyConfig, variants } from './tinyModels.ts';
import { read } from './trainers.ts';

const engines: NativeEngine[] = [];
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.dispose();
});

interface Options {
  readonly threads?: number;
  readonly activationRecompute?: 'none' | 'block';
  readonly objective?: Objective;
}

function trainerOf(config: ModelConfig, precision: Precision, { threads = 2, ...options }: Options = {}) {
  const engine = createNativeEngine({ threads });
  engines.push(engine);
  return new Trainer(engine, config, { seed: 5, precision, ...options });
}

function batchOf(config: ModelConfig, seed: number): MicroStepOptions {
  const batch = randomBatch(config, { seed, batchSize: 4, ignoreEvery: 7 });
  const lossScale = 1 / targetsOf(batch);
  return { ...batch, lossScale, dropout: dropoutSource() };
}

/** The gradients of one batch, tensor by tensor, and its loss. */
async function gradientsOf(trainer: Trainer) {
  const { loss } = await trainer.microStep(batchOf(trainer.model.config, 1));
  const { specs } = trainer.parameters;
  return { loss, tensors: specs.map(({ name }, i) => ({ name, values: trainer.parameters.hostTensor('grads', i) })) };
}

const norm = (values: Float32Array) => Math.hypot(...values);

describe('gradients with precision bf16', () => {
  // Norms after each branch need the stream in float32: the config refuses them with bf16.
  const isPossible = ({ config }: (typeof variants)[number]) => !('normPlace' in config) || config.normPlace === 'pre';
  it.each(variants.filter(isPossible))(
    '$name: of each tensor as with float32, to 3 % of their norm',
    async ({ config }) => {
      const [float32, bf16] = [
        await gradientsOf(trainerOf(config, 'float32')),
        await gradientsOf(trainerOf(config, 'bf16')),
      ];
      expect(Math.abs(bf16.loss / float32.loss - 1)).toBeLessThan(2e-3);
      // The bias of the keys has no gradient but for rounding: it adds the same to all scores of a query.
      const whole = norm(Float32Array.from(float32.tensors, ({ values }) => norm(values)));
      for (const [i, { name, values }] of bf16.tensors.entries()) {
        const expected = float32.tensors[i]!.values;
        const difference = norm(values.map((x, j) => x - expected[j]!));
        expect(difference / Math.max(norm(expected), 1e-2 * whole), name).toBeLessThan(0.03);
      }
    },
  );

  it.each(['none', 'block'] as const)(
    'of an encoder–decoder, also to 3 % of their norm, activationRecompute %s',
    async (activationRecompute) => {
      const { config } = encoderDecoderVariants.find((each) => each.config.normPlace === 'pre')!;
      const batch = sourceBatch(config, [
        [6, 4],
        [2, 5],
        [8, 7],
      ]);
      const step = { ...batch, lossScale: 1 / targetsOf(batch), dropout: dropoutSource() };
      const [float32, bf16] = await Promise.all(
        (['float32', 'bf16'] as const).map(async (precision) => {
          const trainer = trainerOf(config, precision, { activationRecompute, objective: translation });
          const { loss } = await trainer.microStep(step);
          return { loss, gradients: await read(trainer, 'grads') };
        }),
      );
      expect(Math.abs(bf16!.loss / float32!.loss - 1)).toBeLessThan(2e-3);
      const whole = norm(Float32Array.from([...float32!.gradients.values()], norm));
      for (const [name, values] of bf16!.gradients) {
        const expected = float32!.gradients.get(name)!;
        const difference = norm(values.map((x, j) => x - expected[j]!));
        expect(difference / Math.max(norm(expected), 1e-2 * whole), name).toBeLessThan(0.03);
      }
    },
  );

  it('are the same bits at any number of threads, and with activations recomputed', async () => {
    const config = { ...tinyConfig, nEmbd: 48, blockSize: 33, dropout: 0.1 };
    const expected = await gradientsOf(trainerOf(config, 'bf16', { threads: 1 }));
    for (const options of [{ threads: 2 }, { threads: 3 }, { activationRecompute: 'block' }] as const) {
      expect(await gradientsOf(trainerOf(config, 'bf16', options))).toEqual(expected);
    }
  });
});

describe('variables with several uses, with precision bf16', () => {
  const [B, T, C, V] = [3, 16, 32, 65];
  const shapes = { wte: [V, C], ln: [C], up: [C, C], gated: [C, C], down: [C, C], qkv: [C, 3 * C], mix: [3 * C, C] };

  /** Every kind of bfloat16 variable is used twice or more, and by each operation that adds to its gradient in its own way. */
  function gradientsOf(precision: Precision, threads: number): { name: string; values: Float32Array }[] {
    const engine = createNativeEngine({ threads });
    engines.push(engine);
    const [values, grads] = [engine.allocGroup(Object.values(shapes)), engine.allocGroup(Object.values(shapes))];
    const names = Object.keys(shapes) as (keyof typeof shapes)[];
    const p = Object.fromEntries(
      names.map((name, index) => {
        const value = values.tensors[index]!;
        engine.upload(
          value,
          seededValues(index, value.size).map((x) => (name === 'ln' ? 1 + x / 4 : x / 4)),
        );
        return [name, { index, name, value, grad: grads.tensors[index]! }];
      }),
    ) as Record<keyof typeof shapes, Parameter>;
    const tape = new Tape(engine, precision);
    const targets = tape.upload(seededIntegers(8, B * T, V), [B * T]);
    const head = { weight: p.wte, weightTransposed: true };
    const hidden = tape.layerNorm(
      tape.embedding(tape.upload(seededIntegers(9, B * T, V), [B, T]), p.wte),
      { weight: p.ln },
      1e-5,
    );
    const scale = 1 / (B * T);
    tape.linearCrossEntropy(hidden, head, targets, { scale }); // the auxiliary loss, before the other uses
    const active = tape.linear(hidden, { weight: p.gated, activation: 'gelu' });
    const up = tape.linear(hidden, { weight: p.up, residual: active });
    const qkv = tape.linear(up, { weight: p.qkv });
    const attended = tape.attention(qkv, { nHead: 4 });
    const mixed = tape.linear(qkv, { weight: p.mix, residual: attended });
    const dropped = tape.dropout(mixed, { rate: 0.1, seed: 1, step: 1, firstSample: 0, site: 0 });
    const out = tape.linear(active, { weight: p.down, residual: dropped });
    tape.linearCrossEntropy(out, head, targets, { scale });
    tape.backward([{ of: attended, grad: seedOf(tape, precision) }]);
    const result = names.map((name) => ({ name, values: engine.hostView(p[name].grad!)!.slice() }));
    tape.discard();
    return result;
  }

  function seedOf(tape: Tape, precision: Precision): Tensor {
    const values = seededValues(11, B * T * C).map((x) => x / (B * T));
    return tape.upload(precision === 'bf16' ? toBfloat16(values) : values, [B, T, C]);
  }

  it('have the gradients of float32, to 2 % of their norm, and the same bits at any number of threads', () => {
    const [float32, bf16] = [gradientsOf('float32', 2), gradientsOf('bf16', 1)];
    for (const [i, { name, values }] of bf16.entries()) {
      const expected = float32[i]!.values;
      expect(norm(values.map((x, j) => x - expected[j]!)) / norm(expected), name).toBeLessThan(0.02);
    }
    for (const threads of [2, 3]) expect(gradientsOf('bf16', threads)).toEqual(bf16);
  });
});

describe('training with precision bf16', () => {
  const config = { ...tinyConfig, nEmbd: 32, blockSize: 16 };
  const adamw = { learningRate: 2e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradClip: 1 };

  /** Losses for each target of 250 steps on four batches. */
  async function lossesOf(trainer: Trainer): Promise<number[]> {
    const losses: number[] = [];
    for (let step = 1; step <= 250; step++) {
      const batch = batchOf(config, step % 4);
      losses.push((await trainer.microStep(batch)).loss * batch.lossScale);
      await trainer.applyAdamw({ ...adamw, step });
    }
    return losses;
  }

  it('learns as fast as with float32', async () => {
    const means = (losses: number[]) =>
      Array.from({ length: 10 }, (_, i) => losses.slice(25 * i, 25 * (i + 1)).reduce((sum, x) => sum + x / 25, 0));
    const float32 = means(await lossesOf(trainerOf(config, 'float32')));
    const bf16 = means(await lossesOf(trainerOf(config, 'bf16')));
    expect(float32.at(-1)).toBeLessThan(0.3 * float32[0]!);
    for (const [i, mean] of bf16.entries()) {
      expect(Math.abs(mean - float32[i]!), `steps from ${25 * i}`).toBeLessThan(0.02 * float32[0]!);
    }
  });

  it('evaluates what it trains to nearly the same loss in either precision', async () => {
    const [float32, bf16] = [trainerOf(config, 'float32'), trainerOf(config, 'bf16')];
    const batch = batchOf(config, 1);
    const [{ loss: expected }, { loss: actual }] = [await float32.evaluate(batch), await bf16.evaluate(batch)];
    expect(Math.abs(actual / expected - 1)).toBeLessThan(1e-3);
    expect(actual).not.toBe(expected);
  });
});
