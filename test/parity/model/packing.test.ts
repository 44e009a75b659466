/** Packed samples train as the same samples by themselves; no document reaches another, and no padding reaches a document. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Batch } from '../../../src/base/batch.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { nextToken, packedTokens } from '../../../src/model/objectives/nextToken.ts';
import { Tape } from '../../../src/model/tape.ts';
import { Trainer, type TrainerOptions } from '../../../src/model/training.ts';
import { nextTokenWindows } from '../../../src/task/nextToken.ts';
import { packedTask, packSamples } from '../../../src/task/packing.ts';
import { collate, type Sample } from '../../../src/task/task.ts';
import { seededIntegers } from '../kernels/harness.ts';
import { Float64Engine } from './float64Engine.ts';
import { tinyConfig } from './tinyModels.ts';

const config = { ...tinyConfig, blockSize: 64, nEmbd: 40, nHead: 2 };
const lengths = [5, 1, 47, 11];
const samples = lengths.map((length, i): Sample => {
  const ids = seededIntegers(i, length + 1, config.vocabSize);
  return { tokens: ids.subarray(0, length), targets: ids.subarray(1).map((id, at) => (at % 4 === 1 ? -1 : id)) };
});
const rows = collate(nextTokenWindows.fields, samples, 48);
const packed = collate(packedTask(nextTokenWindows).fields, [packSamples(samples)], 64);
const weight = nextTokenWindows.weight(rows);

const engines: Engine[] = [];
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.dispose();
});

function trainerOf(engine: Engine, options: Partial<TrainerOptions>): Trainer {
  engines.push(engine);
  return new Trainer(engine, config, { seed: 3, ...options });
}

/** The sum of the losses, and the gradient of their mean, as one block for each tensor. */
async function step(trainer: Trainer, batch: Batch) {
  const { loss } = await trainer.microStep({ ...batch, lossScale: 1 / weight });
  const { grads } = trainer.parameters;
  const gradients = grads.tensors.map((tensor) => new Float32Array(tensor.size));
  for (const [i, tensor] of grads.tensors.entries()) await trainer.engine.download(tensor, gradients[i]!);
  return { loss, gradients };
}

/** The largest difference of numbers of a tensor, relative to its largest number. */
function difference(actual: Float32Array, expected: Float32Array): number {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return actual.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0) / largest;
}

/** The loss of each target. */
async function lossesOf(batch: Batch, precision: 'float32' | 'bf16'): Promise<Float32Array> {
  const { engine, model } = trainerOf(createNativeEngine({ threads: 2 }), {});
  const tape = new Tape(engine, precision);
  const put = (name: string) => {
    const { shape, data } = batch.arrays[name]!;
    return tape.upload(data, [batch.sampleCount, ...shape]);
  };
  const starts = 'starts' in batch.arrays ? put('starts') : undefined;
  const targets = batch.arrays['targets']!.data;
  const losses = model.losses(tape, put('tokens'), tape.upload(targets, [targets.length]), { starts });
  const numbers = await tape.read(losses);
  tape.discard();
  return numbers;
}

describe('a packed sample', () => {
  it('is mostly documents: there are 64 tokens in 64 places, and 192 in samples by themselves', () => {
    expect(packed.arrays['tokens']!.data).toHaveLength(64);
    expect(rows.arrays['tokens']!.data).toHaveLength(192);
  });

  it.each([
    { name: 'native', engine: () => createNativeEngine({ threads: 2 }), tolerance: 1e-5 },
    { name: 'float64', engine: () => new Float64Engine(), tolerance: 3e-7 }, // results are read as float32
  ])('has the losses and gradients of its samples by themselves: $name', async ({ engine, tolerance }) => {
    const apart = await step(trainerOf(engine(), { objective: nextToken }), rows);
    const together = await step(trainerOf(engine(), { objective: packedTokens }), packed);
    expect(Math.abs(together.loss - apart.loss) / apart.loss).toBeLessThan(tolerance);
    for (const [i, gradient] of apart.gradients.entries()) {
      expect(difference(together.gradients[i]!, gradient), `gradient ${i}`).toBeLessThan(tolerance);
    }
    // The same batch without its starts is another one.
    const { starts: _, ...arrays } = packed.arrays;
    const blind = await step(trainerOf(engine(), { objective: nextToken }), { ...packed, arrays });
    expect(Math.abs(blind.loss - apart.loss) / apart.loss).toBeGreaterThan(1e-3);
  });

  it('has the same bits with recomputed activations', async () => {
    const runs = ['none', 'block'] as const;
    const [kept, recomputed] = await Promise.all(
      runs.map((activationRecompute) => {
        const trainer = trainerOf(createNativeEngine({ threads: 2 }), { objective: packedTokens, activationRecompute });
        return step(trainer, packed);
      }),
    );
    expect(recomputed).toEqual(kept);
  });

  it.each(['float32', 'bf16'] as const)(
    'changes no bit of a document with a token of another: %s',
    async (precision) => {
      const tokens = packed.arrays['tokens']!;
      const data = Int32Array.from(tokens.data);
      data[2] = (data[2]! + 1) % config.vocabSize;
      const changed = { ...packed, arrays: { ...packed.arrays, tokens: { ...tokens, data } } };
      const [before, after] = [await lossesOf(packed, precision), await lossesOf(changed, precision)];
      const first = lengths[0]!;
      expect(after.subarray(first)).toEqual(before.subarray(first));
      expect(after.subarray(0, first)).not.toEqual(before.subarray(0, first));
    },
  );
});

it.each(['float32', 'bf16'] as const)('padding changes no bit before it: %s', async (precision) => {
  const other = { ...nextTokenWindows.fields, tokens: { dtype: 'int32', padding: 7 } } as const;
  const padded = [rows, collate(other, samples, 48)];
  const [before, after] = [await lossesOf(padded[0]!, precision), await lossesOf(padded[1]!, precision)];
  expect(padded[1]!.arrays['tokens']!.data).not.toEqual(padded[0]!.arrays['tokens']!.data);
  // The losses of the padding are 0: it has no targets.
  expect(after).toEqual(before);
  expect(before.filter((loss) => loss !== 0)).toHaveLength(weight);
});
