import { describe, expect, it } from 'vitest';
import { engineText, mixRefusal } from '../../../../src/coordinator/core/engineMix.ts';

const native = { engine: 'native', deviceKind: 'cpu', unit: 'avx512', precision: 'float32' };
const tfjs = { engine: 'tfjs', deviceKind: 'webgpu', unit: 'nvidia hopper', precision: 'float32' };
const webgpu = { engine: 'webgpu', deviceKind: 'gpu', unit: 'NVIDIA H100', precision: 'float32' };

describe('which workers may share a ring', () => {
  it.each([
    ['equals', native, native],
    ['equals of an engine that no rule names', tfjs, tfjs],
    ['x86 instruction sets with fused multiply-adds', native, { ...native, unit: 'avx2' }],
    ['GPUs of any two kinds', webgpu, { ...webgpu, unit: 'Apple M2' }],
    [
      'units that differ in their products alone',
      { ...native, precision: 'bf16' },
      { ...native, unit: 'amx', precision: 'bf16' },
    ],
  ])('%s may', (_, one, other) => {
    expect(mixRefusal(one, other)).toBeUndefined();
    expect(mixRefusal(other, one)).toBeUndefined();
  });

  it.each([
    ['two engines', native, { ...tfjs, deviceKind: 'cpu' }, /each engine/, /engine.name/],
    ['processors and GPUs', native, webgpu, /lays out the gradients differently/, /engine.name/],
    [
      'two devices of one engine',
      tfjs,
      { ...tfjs, deviceKind: 'wasm', unit: 'simd' },
      /each kind of device/,
      /engine.device/,
    ],
    [
      'two GPUs of an engine that no rule names',
      tfjs,
      { ...tfjs, unit: 'apple m2' },
      /may round the update differently/,
      /one kind/,
    ],
    ['x86 and ARM', native, { ...native, unit: 'neon' }, /may round the update differently/, /one kind/],
    [
      'with and without fused multiply-adds',
      native,
      { ...native, unit: 'scalar' },
      /may round the update differently/,
      /one kind/,
    ],
    [
      'a unit that another engine may mix',
      tfjs,
      { ...tfjs, unit: 'avx2' },
      /may round the update differently/,
      /one kind/,
    ],
    ['two precisions', native, { ...native, precision: 'bf16' }, /use the precision of its config/, /same version/],
  ])('%s may not', (_, one, other, reason, remedy) => {
    for (const refusal of [mixRefusal(one, other), mixRefusal(other, one)]) {
      expect(refusal?.reason).toMatch(reason);
      expect(refusal?.remedy).toMatch(remedy);
    }
  });

  it('is told to people', () => expect(engineText(native)).toBe('native avx512 (cpu, float32)'));

  it('Muon, whose update has products, needs equal units', () => {
    const kinds = [
      [native, { ...native, unit: 'avx2' }],
      [webgpu, { ...webgpu, unit: 'Apple M2' }],
    ] as const;
    for (const [one, other] of kinds) {
      expect(mixRefusal(one, other)).toBeUndefined();
      expect(mixRefusal(one, one, { muon: true })).toBeUndefined();
      expect(mixRefusal(one, other, { muon: true })?.reason).toMatch(/optimizer.kind muon .* products/);
    }
    expect(mixRefusal(native, { ...native, unit: 'neon' }, { muon: true })?.remedy).toBe('use machines of one kind');
  });

  it('Muon needs one machine where the unit does not tell the processor', () => {
    const tensorflow = { ...tfjs, deviceKind: 'tensorflow', unit: '@tensorflow/tfjs-node' };
    const apart = { muon: true, apart: true };
    expect(mixRefusal(tensorflow, tensorflow, apart)?.reason).toMatch(/muon .* processors of two machines/);
    expect(mixRefusal(tensorflow, tensorflow, { muon: true })).toBeUndefined();
    expect(mixRefusal(tensorflow, tensorflow, { apart: true })).toBeUndefined();
    // WebAssembly and JavaScript round alike everywhere, and the other engines name what computes.
    for (const id of [{ ...tfjs, deviceKind: 'wasm' }, { ...tfjs, deviceKind: 'cpu' }, native, webgpu]) {
      expect(mixRefusal(id, id, apart)).toBeUndefined();
    }
  });
});
