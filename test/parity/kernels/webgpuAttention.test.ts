/** Attention of the webgpu engine: what the kernel suite does not reach on the one device it runs on. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Gpu } from '../../../src/engine/webgpu/gpu.ts';
import { attentionForward } from '../../../src/engine/webgpu/kernels/attention.ts';
import { attentionBackward } from '../../../src/engine/webgpu/kernels/attentionBackward.ts';
import { attentionDecode } from '../../../src/engine/webgpu/kernels/attentionDecode.ts';
import type { GpuTensor } from '../../../src/engine/webgpu/memory.ts';
import { openGpu } from '../../../src/engine/webgpu/openDevice.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { nightlyIt } from '../../nightly.ts';
import { whyUnavailable } from '../webgpu.ts';
import { startsOf } from './documentCases.ts';
import { errorByRow, seededDropout, seededValues, unevenValues } from './harness.ts';
import { qkvWidth } from './referenceAttention.ts';
import { reference } from './sharedReference.ts';
import { TOLERANCES } from './tolerances.ts';

const unavailable = await whyUnavailable(createWebgpuEngine);

/** The same device, as if its driver bound less at a time. */
class SmallBindings extends Gpu {
  override get bindingFloatsMax(): number {
    return 1024;
  }
}

interface Shape {
  readonly b: number;
  readonly t: number;
  readonly nHead: number;
  readonly nKvHead?: number;
  readonly headSize: number;
  readonly rate: number;
  /** Lengths of the documents of each sample; absent: each is one. */
  readonly documents?: readonly (readonly number[])[];
}

function putStarts(gpu: Gpu, shape: readonly number[], starts: Int32Array): GpuTensor {
  const tensor = gpu.memory.alloc(shape, 'int32');
  tensor.hostValues = starts;
  gpu.commands.write(tensor.buffer, tensor.byteOffset, starts);
  return tensor;
}

function put(gpu: Gpu, shape: readonly number[], data?: Float32Array): GpuTensor {
  const tensor = gpu.memory.alloc(shape, 'float32');
  gpu.commands.write(tensor.buffer, 0, data ?? new Float32Array(tensor.size).fill(Number.NaN));
  return tensor;
}

async function read(gpu: Gpu, tensor: GpuTensor): Promise<Float32Array> {
  const data = new Float32Array(tensor.size);
  await gpu.transfers.read(tensor.buffer, 0, data);
  return data;
}

/** Results of both directions, and what goes in. */
async function attend(gpu: Gpu, { b, t, nHead, nKvHead = nHead, headSize, rate, documents }: Shape) {
  const [c, width] = [nHead * headSize, qkvWidth({ nHead, nKvHead, headSize })];
  const [qkvValues, doutValues] = [seededValues(1, b * t * width).map((x) => 2 * x), unevenValues(2, b * t, c)];
  const [qkv, dout] = [put(gpu, [b, t, width], qkvValues), put(gpu, [b, t, c], doutValues)];
  const [out, lse, dqkv] = [put(gpu, [b, t, c]), put(gpu, [2, b, nHead, t]), put(gpu, [b, t, width])];
  const starts = documents && { starts: putStarts(gpu, [b, t], startsOf(documents)) };
  const options = { qkv, nHead, nKvHead, lse, out, ...(rate > 0 && { dropout: seededDropout(3, rate) }), ...starts };
  attentionForward(gpu, options);
  attentionBackward(gpu, { ...options, dqkv, dout });
  const [outValues, lseValues, dqkvValues] = [await read(gpu, out), await read(gpu, lse), await read(gpu, dqkv)];
  for (const tensor of [qkv, dout, out, lse, dqkv]) gpu.memory.release(tensor);
  if (starts !== undefined) gpu.memory.release(starts.starts);
  return { qkv: qkvValues, dout: doutValues, out: outValues, lse: lseValues, dqkv: dqkvValues };
}

describe.skipIf(unavailable !== undefined)('attention of the webgpu engine', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu?.close());

  it('treats tensors that exceed a binding some samples at a time, to the same bits', async () => {
    // 405 numbers a sample of qkv: two samples are bound at a time, from where samples do not start.
    const shape = { b: 5, t: 9, nHead: 3, headSize: 5, rate: 0.2 };
    const small = new SmallBindings(gpu.device, gpu.info, gpu.name);
    expect(await attend(small, shape)).toEqual(await attend(gpu, shape));
    expect(await attend(small, { ...shape, nKvHead: 1 })).toEqual(await attend(gpu, { ...shape, nKvHead: 1 }));
    const packed = { ...shape, documents: [[9], [2, 7], [1, 1, 7], [8, 1], [3, 3, 3]] };
    expect(await attend(small, packed)).toEqual(await attend(gpu, packed));
    await expect(attend(small, { ...shape, t: 99 })).rejects.toThrow('a sample of qkv has 17,820 bytes');
  });

  it('refuses heads that are wider than its registers, and says what to change', async () => {
    await expect(attend(gpu, { b: 1, t: 2, nHead: 1, headSize: 257, rate: 0 })).rejects.toThrow(
      'a head has 257 channels, but at most 256 are supported: raise model.nHead',
    );
  });

  // Compiling these for a software driver takes most of the time.
  const shapes = [
    { b: 2, t: 70, nHead: 2, headSize: 5, rate: 0 },
    { b: 1, t: 130, nHead: 2, headSize: 40, rate: 0.2 },
    { b: 2, t: 70, nHead: 4, nKvHead: 2, headSize: 12, rate: 0 },
    // Documents within tiles, across them and at their edges.
    {
      b: 2,
      t: 130,
      nHead: 1,
      headSize: 5,
      rate: 0,
      documents: [
        [64, 32, 34],
        [1, 1, 128],
      ],
    },
    {
      b: 2,
      t: 100,
      nHead: 2,
      headSize: 40,
      rate: 0.2,
      documents: [
        [3, 90, 7],
        [31, 2, 31, 36],
      ],
    },
  ] satisfies Shape[];
  nightlyIt.each(shapes)(
    'in the tiles of real GPUs: T=$t HS=$headSize dropout $rate',
    { timeout: 600_000 },
    async (shape: Shape) => {
      const { isFallbackAdapter: _, ...info } = gpu.info;
      const real = new Gpu(gpu.device, { ...info, isFallbackAdapter: false }, gpu.name);
      const { b, t, nHead, nKvHead = nHead, headSize, rate, documents } = shape;
      const [c, kvWidth, width] = [nHead * headSize, nKvHead * headSize, qkvWidth(shape)];
      const actual = await attend(real, shape);
      const mask = reference.dropoutMask(seededDropout(3, rate), b, nHead * t * t);
      const input = { qkv: actual.qkv, b, t, nHead, nKvHead, headSize, mask, starts: documents && startsOf(documents) };
      const expected = reference.attentionForward(input);
      const terms = reference.attentionForwardTerms(input);
      expect(errorByRow(actual.out, expected.out, c, terms)).toBeLessThan(TOLERANCES.attentionForward);
      expect(errorByRow(actual.lse.subarray(0, b * nHead * t), expected.lse, t)).toBeLessThan(
        TOLERANCES.attentionForward,
      );
      const dqkv = reference.attentionBackward(input, actual.dout);
      const gradientTerms = reference.attentionBackward(input, actual.dout, 'terms');
      expect(errorByRow(actual.dqkv, dqkv, width, gradientTerms)).toBeLessThan(TOLERANCES.attentionBackward);
      if (rate > 0 || documents !== undefined) return;
      const [keys, values] = [put(real, [t, kvWidth]), put(real, [t, kvWidth])];
      for (const [from, to] of [
        [0, 11],
        [11, t],
      ] as const) {
        const qkv = put(real, [1, to - from, width], actual.qkv.slice(from * width, to * width));
        const out = put(real, [1, to - from, c]);
        attentionDecode(real, { out, qkv, sequences: [{ keys, values, position: from }], nHead, nKvHead });
        const [want, size] = [expected.out, terms].map((all) => all.subarray(from * c, to * c)) as [
          Float64Array,
          Float64Array,
        ];
        expect(errorByRow(await read(real, out), want, c, size)).toBeLessThan(TOLERANCES.attentionForward);
      }
    },
  );

  nightlyIt.each([
    { tq: 70, tk: 130, headSize: 12, rate: 0.2, hasStarts: true },
    { tq: 70, tk: 40, headSize: 5, rate: 0, hasStarts: false },
  ])(
    'ranges of keys in the tiles of real GPUs: Tq=$tq Tk=$tk HS=$headSize dropout $rate',
    { timeout: 600_000 },
    async ({ tq, tk, headSize, rate, hasStarts }) => {
      const { isFallbackAdapter: _, ...info } = gpu.info;
      const real = new Gpu(gpu.device, { ...info, isFallbackAdapter: false }, gpu.name);
      const [b, nHead, nKvHead] = [2, 4, 2];
      const [c, kvWidth] = [nHead * headSize, 2 * nKvHead * headSize];
      const [q, kv] = [seededValues(1, b * tq * c).map((x) => 2 * x), seededValues(2, b * tk * kvWidth)];
      const doutValues = unevenValues(4, b * tq, c);
      // Each query sees a fifth of the keys or more, somewhere.
      const starts = Int32Array.from({ length: b * tq }, (_, i) =>
        hasStarts ? (7 * i) % Math.floor((4 * tk) / 5) : 0,
      );
      const ends = starts.map((start, i) => Math.min(tk, start + Math.ceil(tk / 5) + (i % 9)));
      const mask = reference.dropoutMask(seededDropout(3, rate), b, nHead * tq * tk);
      const input = { q, kv, b, t: tq, keys: tk, nHead, nKvHead, headSize, mask, starts, ends };
      const [out, lse] = [put(real, [b, tq, c]), put(real, [2, b, nHead, tq])];
      const [dq, dkv] = [put(real, [b, tq, c]), put(real, [b, tk, kvWidth])];
      const options = {
        q: put(real, [b, tq, c], q),
        kv: put(real, [b, tk, kvWidth], kv),
        nHead,
        nKvHead,
        lse,
        out,
        ...(rate > 0 && { dropout: seededDropout(3, rate) }),
        ...(hasStarts && { starts: putStarts(real, [b, tq], starts) }),
        ends: putStarts(real, [b, tq], ends),
      };
      attentionForward(real, options);
      attentionBackward(real, { ...options, dq, dkv, dout: put(real, [b, tq, c], doutValues) });
      const expected = reference.attentionForward(input);
      const terms = reference.attentionForwardTerms(input);
      expect(errorByRow(await read(real, out), expected.out, c, terms)).toBeLessThan(TOLERANCES.attentionForward);
      const gradients = reference.separateAttentionBackward(input, doutValues);
      const sizes = reference.separateAttentionBackward(input, doutValues, 'terms');
      expect(errorByRow(await read(real, dq), gradients.dq, c, sizes.dq)).toBeLessThan(TOLERANCES.attentionBackward);
      expect(errorByRow(await read(real, dkv), gradients.dkv, kvWidth, sizes.dkv)).toBeLessThan(
        TOLERANCES.attentionBackward,
      );
    },
  );
});
