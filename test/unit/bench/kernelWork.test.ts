import { describe, expect, it } from 'vitest';
import { kernelShape, kernelWork } from '../../../src/bench/kernelWork.ts';
import type { Tensor } from '../../../src/engine/tensor.ts';

function tensor(...shape: number[]): Tensor {
  return { shape, dtype: 'float32', size: shape.reduce((product, n) => product * n, 1) };
}

describe('kernelWork', () => {
  it('counts two for each multiply-add of a linear layer, twice that for both gradients', () => {
    const product = { inp: tensor(2, 5, 7), weight: tensor(7, 11), out: tensor(2, 5, 11) };
    expect(kernelWork('linearForward', product).flops).toBe(1540); // 2 · 10 · 7 · 11
    expect(kernelWork('linearForward', { ...product, weight: tensor(11, 7), weightTransposed: true }).flops).toBe(1540);
    const gradients = { ...product, dout: product.out, dweight: product.weight };
    expect(kernelWork('linearBackward', gradients).flops).toBe(1540);
    expect(kernelWork('linearBackward', { ...gradients, dinp: product.inp }).flops).toBe(3080);
  });

  it('counts one product for the loss of the head, three with its gradients', () => {
    const head = { inp: tensor(10, 7), weight: tensor(11, 7), weightTransposed: true, losses: tensor(10) };
    expect(kernelWork('linearCrossEntropy', head).flops).toBe(1540);
    expect(kernelWork('linearCrossEntropy', { ...head, dinp: head.inp, dweight: head.weight }).flops).toBe(3 * 1540);
  });

  it('counts the causal half of attention: two products forward, five backward', () => {
    const options = { qkv: tensor(2, 8, 3 * 6), nHead: 2, lse: tensor(2, 2, 2, 8), out: tensor(2, 8, 6) };
    expect(kernelWork('attentionForward', options).flops).toBe(2 * 2 * 8 * 8 * 6);
    expect(kernelWork('attentionBackward', options).flops).toBe(5 * 2 * 8 * 8 * 6);
  });

  it('knows bfloat16 numbers, which have half the bytes, and factors that are rounded to float16: products of their own', () => {
    const half: Tensor = { ...tensor(10, 7), dtype: 'bfloat16' };
    const product = { inp: half, weight: tensor(7, 11), out: tensor(10, 11) };
    expect(kernelWork('linearForward', product)).toEqual({ flops: 1540, precision: 'bf16', bytes: 140 + 308 + 440 });
    expect(kernelWork('linearForward', { ...product, inp: tensor(10, 7) })).toMatchObject({ precision: 'float32' });
    const rounded = { ...product, inp: tensor(10, 7), operands: 'float16' };
    expect(kernelWork('linearForward', rounded)).toMatchObject({ precision: 'f16' });
  });

  it('counts each tensor once, groups and tensors inside of objects too', () => {
    expect(kernelWork('add', { out: tensor(5), a: tensor(5), b: tensor(5) })).toEqual({ bytes: 60 });
    const group = { tensors: [tensor(3), tensor(4)], offsets: [0, 16], length: 32 };
    expect(kernelWork('zeroGroup', group)).toEqual({ bytes: 128 });
    expect(kernelWork('zero', tensor(3))).toEqual({ bytes: 12 });
    const keys = [new Uint32Array(2)];
    expect(kernelWork('dropout', { out: tensor(1, 3), inp: tensor(1, 3), dropout: { rate: 0.5, keys } })).toEqual({
      bytes: 24,
    });
  });

  it('counts rows of tables, not tables, and what is read and written as both', () => {
    const wte = tensor(1000, 4);
    const tokens = { ...tensor(2, 3), dtype: 'int32' as const };
    expect(kernelWork('embeddingForward', { out: tensor(2, 3, 4), tokens, wte })).toEqual({ bytes: 2 * 96 });
    expect(kernelWork('embeddingBackward', { dout: tensor(2, 3, 4), tokens, dwte: wte, dwpe: wte })).toEqual({
      bytes: 5 * 96,
    });
    const group = { tensors: [wte], offsets: [0], length: 4000 };
    const update = { params: group, grads: group, m: group, v: group };
    expect(kernelWork('adamw', update)).toEqual({ bytes: 7 * 16_000 });
    expect(kernelWork('adamw', { ...update, zeroGrads: true })).toEqual({ bytes: 8 * 16_000 });
    const cache = { keys: tensor(1024, 4), values: tensor(1024, 4) };
    const sequences = [9, 4].map((position) => ({ ...cache, position }));
    const decode = { out: tensor(2, 4), qkv: tensor(2, 1, 12), sequences, nHead: 2 };
    expect(kernelWork('attentionDecode', decode)).toEqual({ bytes: 4 * 48 + 2 * (10 + 5) * 16 });
  });
});

describe('kernelShape', () => {
  it('names what tells calls apart', () => {
    const product = { inp: tensor(2, 5, 7), weight: tensor(11, 7) };
    expect(kernelShape(product)).toBe('10×7×11');
    expect(kernelShape({ ...product, weightTransposed: true })).toBe('10×7×11 transposed');
    expect(kernelShape({ qkv: tensor(2, 8, 18), nHead: 3 })).toBe('2×8×18 NH 3');
    expect(kernelShape({ weight: tensor(4), inp: tensor(2, 3, 4), mean: tensor(6) })).toBe('2×3×4');
    expect(kernelShape({})).toBe('');
  });
});
