/** Kernels that treat each element by itself. */
import type { KernelOptions } from '../../kernels.ts';
import type { Tensor, TensorGroup } from '../../tensor.ts';
import type { Gpu } from '../gpu.ts';
import { gpuGroup, gpuTensor } from '../memory.ts';
import { flatMain, program } from '../program.ts';
import { dropoutFunctions, dropoutParams, dropoutValues } from '../wgsl/dropout.ts';
import { ofSize, sameSize } from './sameSize.ts';

const sum = program({
  name: 'add',
  bindings: { out: 'read_write f32', a: 'read f32', b: 'read f32' },
  params: { count: 'u32' },
  code: flatMain('out[i] = a[i] + b[i];'),
});

/** `a` may be `out`, and so may `b`, since then the other is added to it. */
const sumInPlace = program({
  name: 'add in place',
  bindings: { out: 'read_write f32', other: 'read f32' },
  params: { count: 'u32' },
  code: flatMain('out[i] += other[i];'),
});

const maskedParams = { ...dropoutParams, count: 'u32', first: 'u32', sampleSize: 'u32' } as const;

const mask = (inp: string): string =>
  dropoutFunctions +
  flatMain(`
  let sample = (params.first + i) / params.sampleSize;
  out[i] = keep(dropoutKey(sample), params.first + i - sample * params.sampleSize, ${inp}[i]);`);

const masked = program({
  name: 'dropout',
  bindings: { out: 'read_write f32', inp: 'read f32' },
  params: maskedParams,
  code: mask('inp'),
});

const maskedInPlace = program({
  name: 'dropout in place',
  bindings: { out: 'read_write f32' },
  params: maskedParams,
  code: mask('out'),
});

export function add(gpu: Gpu, options: KernelOptions<'add'>): void {
  const out = gpuTensor(options.out, 'out');
  const [a, b] = [sameSize(options.a, 'a', out), sameSize(options.b, 'b', out)];
  const other = a === out ? b : b === out ? a : undefined;
  if (other === undefined) gpu.runFlat(sum, { out, a, b }, {}, out.size);
  else gpu.runFlat(sumInPlace, { out, other }, {}, out.size);
}

export function dropout(gpu: Gpu, options: KernelOptions<'dropout'>): void {
  const out = gpuTensor(options.out, 'out');
  const inp = sameSize(options.inp, 'inp', out);
  const params = { ...dropoutValues(options.dropout), sampleSize: out.size / (out.shape[0] ?? 1) };
  if (inp === out) gpu.runFlat(maskedInPlace, { out }, params, out.size);
  else gpu.runFlat(masked, { out, inp }, params, out.size);
}

export function copy(gpu: Gpu, options: KernelOptions<'copy'>): void {
  const out = gpuTensor(options.out, 'out');
  const inp = ofSize(options.inp, 'inp', Math.min(options.inp.size, out.size));
  if (inp !== out) gpu.commands.copy(inp.buffer, inp.byteOffset, out.buffer, out.byteOffset, 4 * inp.size);
}

export function zero(gpu: Gpu, tensor: Tensor): void {
  const own = gpuTensor(tensor);
  if (own.dtype === 'int32') own.hostValues = new Int32Array(own.size);
  gpu.commands.clear(own.buffer, own.byteOffset, 4 * own.size);
}

export function zeroGroup(gpu: Gpu, group: TensorGroup): void {
  const { buffer, length } = gpuGroup(group);
  gpu.commands.clear(buffer, 0, 4 * length);
}
