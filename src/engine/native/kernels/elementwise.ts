/** Filling, adding, copying and dropout. */
import type { KernelOptions } from '../../kernels.ts';
import type { Tensor, TensorGroup } from '../../tensor.ts';
import { anyFloats, floatsOfGroup, keysOf, nativeTensor } from '../checks.ts';
import type { OpenEngine } from '../openEngine.ts';

export function zero({ addon, handle }: OpenEngine, tensor: Tensor): void {
  const { data } = nativeTensor(tensor, 'tensor');
  if (data instanceof Float32Array) addon.zero(handle, data);
  else data.fill(0);
}

export function zeroGroup({ addon, handle }: OpenEngine, group: TensorGroup): void {
  addon.zero(handle, floatsOfGroup(group));
}

export function add({ addon, handle }: OpenEngine, { out, a, b }: KernelOptions<'add'>): void {
  const { size } = out;
  addon.add(handle, size, anyFloats(out, 'out'), anyFloats(a, 'a', size), anyFloats(b, 'b', size));
}

export function copy({ addon, handle }: OpenEngine, { out, inp }: KernelOptions<'copy'>): void {
  const size = Math.min(inp.size, out.size);
  addon.copy(handle, size, anyFloats(out, 'out').subarray(0, size), anyFloats(inp, 'inp', size));
}

export function dropout({ addon, handle }: OpenEngine, { out, inp, dropout }: KernelOptions<'dropout'>): void {
  const b = out.shape[0] ?? 1;
  addon.dropout(
    handle,
    b,
    out.size / b,
    anyFloats(out, 'out'),
    anyFloats(inp, 'inp', out.size),
    dropout.rate,
    keysOf(dropout, b),
  );
}
