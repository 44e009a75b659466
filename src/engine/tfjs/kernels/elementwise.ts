/** Filling, adding, copying and dropout. */
import type { KernelOptions } from '../../kernels.ts';
import type { Tensor, TensorGroup } from '../../tensor.ts';
import { deviceTensor, expectSizes } from '../deviceTensor.ts';
import type { TfjsDevice } from '../tfjsDevice.ts';

export function zero(device: TfjsDevice, tensor: Tensor): void {
  if (tensor.dtype === 'int32') device.store.upload(deviceTensor(tensor), new Int32Array(tensor.size));
  else device.write([tensor], () => [device.ops.tf.zeros([...tensor.shape])]);
}

export function zeroGroup(device: TfjsDevice, group: TensorGroup): void {
  for (const tensor of group.tensors) zero(device, tensor);
}

export function add(device: TfjsDevice, { out, a, b }: KernelOptions<'add'>): void {
  expectSizes('add', { a: [a, out.size], b: [b, out.size] });
  device.write([out], () => [device.ops.tf.add(device.rows(a), device.rows(b))]);
}

export function copy(device: TfjsDevice, { out, inp }: KernelOptions<'copy'>): void {
  const after = out.size - inp.size;
  expectSizes('copy', { inp: [inp, Math.min(inp.size, out.size)] });
  device.write([out], () => {
    const { tf } = device.ops;
    if (after === 0) return [tf.clone(device.read(inp))];
    const flat = (tensor: Tensor) => tf.reshape(device.read(tensor), [-1]);
    return [tf.concat([flat(inp), tf.slice(flat(out), [inp.size], [after])])];
  });
}

export function dropout(device: TfjsDevice, { out, inp, dropout }: KernelOptions<'dropout'>): void {
  expectSizes('dropout', { inp: [inp, out.size] });
  device.write([out], () => {
    return [device.ops.tf.mul(device.read(inp), device.dropoutFactors(dropout, out.shape[0] ?? 1, inp.shape))];
  });
}
