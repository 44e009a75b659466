/** Replicas on different instruction sets stay equal to the bit: what each computes for itself comes out alike. */
import { expect, it } from 'vitest';
import type { InstructionSet } from '../../../src/base/instructionSets.ts';
import { alike } from '../../../src/coordinator/core/engineMix.ts';
import { loadNative } from '../../../src/engine/native/loadNative.ts';
import { createNativeEngine, nativeAddInto } from '../../../src/engine/native/nativeEngine.ts';
import { seededValues } from './harness.ts';

const load = loadNative();
const sets = 'addon' in load ? load.addon.instructionSets() : [];
const sizes = [3, 40_013, 1, 96, 20_000];
const weightDecay = [0.1, 0.2, 0, 0, 0.3];

/** Parameters and moments after some updates with gradients of many magnitudes. */
async function updated(isa: InstructionSet): Promise<Float32Array[]> {
  const engine = createNativeEngine({ isa, threads: 2 });
  const group = () => engine.allocGroup(sizes.map((size) => [size]));
  const groups = { params: group(), grads: group(), m: group(), v: group() };
  const average = group();
  for (const [i, tensor] of groups.params.tensors.entries()) engine.upload(tensor, seededValues(i, tensor.size));
  for (let step = 1; step <= 20; step++) {
    for (const [i, tensor] of groups.grads.tensors.entries()) {
      const gradient = seededValues(100 * step + i, tensor.size).map((value, at) => value * 10 ** -(at % 12));
      engine.upload(tensor, gradient);
    }
    const settings = { learningRate: 0.01 / step, beta1: 0.9, beta2: 0.95, eps: 1e-8, step, gradScale: 0.37 };
    engine.adamw({
      ...groups,
      weightDecay,
      ...settings,
      zeroGrads: true,
      average: { group: average, weight: 1 / step },
    });
  }
  const results: Float32Array[] = [];
  for (const { tensors } of [groups.params, groups.m, groups.v, average]) {
    for (const tensor of tensors) {
      const data = new Float32Array(tensor.size);
      await engine.download(tensor, data);
      results.push(data);
    }
  }
  await engine.dispose();
  return results;
}

const native = alike.flatMap(({ engine, units }) => (engine === 'native' && units !== 'all' ? [{ units }] : []));

it.for(native)('AdamW gives the same bits on $units', async ({ units }, { skip }) => {
  const here = sets.filter((isa) => units.includes(isa));
  skip(here.length < 2, `nothing to compare: this machine has ${here.join() || 'none'} of ${units.join(', ')}`);
  const [first, ...others] = await Promise.all(here.map(updated));
  for (const [i, other] of others.entries()) {
    for (const [block, data] of other.entries()) {
      expect(Buffer.compare(bytesOf(data), bytesOf(first![block]!)), `${here[i + 1]}, block ${block}`).toBe(0);
    }
  }
});

it('the table has every instruction set with fused multiply-adds that this machine can run', () => {
  const known = native.flatMap(({ units }) => units);
  expect(sets.filter((isa) => isa !== 'scalar' && isa !== 'neon' && !known.includes(isa))).toEqual([]);
});

it('the sum of the ring is that of plain float32 additions', () => {
  const addInto = nativeAddInto();
  const sum = seededValues(1, 10_007);
  const added = seededValues(2, 10_007).map((value, at) => value * 10 ** -(at % 12));
  const expected = sum.map((value, at) => Math.fround(value + added[at]!));
  addInto?.(sum, added);
  expect(addInto).toBeDefined();
  expect(Buffer.compare(bytesOf(sum), bytesOf(expected))).toBe(0);
});

function bytesOf(data: Float32Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
