/** What an update of the parameters needs: norms, AdamW, and the sums of matrices that Muon is made of. */
import type { KernelOptions } from '../../kernels.ts';
import { type PlacedMatrix, updatedTensors, weightedSumParts } from '../../optimizerOptions.ts';
import type { TensorGroup } from '../../tensor.ts';
import { deviceTensor, expectSizes } from '../deviceTensor.ts';
import * as math from '../math.ts';
import type { TfjsDevice } from '../tfjsDevice.ts';
import { zero } from './elementwise.ts';

export async function squaredNorm(device: TfjsDevice, group: TensorGroup): Promise<number> {
  const { tf } = device.ops;
  const written = group.tensors.map(deviceTensor).filter(({ value, parts }) => value !== undefined || parts.size > 0);
  device.activate();
  const sums = written.map((tensor) => tf.tidy(() => math.rowSquares(device.ops, device.read(tensor))));
  const downloaded = await Promise.all(sums.map(async (sum) => sum.data<'float32'>())).finally(() => {
    for (const sum of sums) sum.dispose();
  });
  return downloaded.reduce((total, rows) => rows.reduce((partial, row) => partial + row, total), 0);
}

export function adamw(device: TfjsDevice, options: KernelOptions<'adamw'>): void {
  const { params, grads, m: ms, v: vs, weightDecay, zeroGrads, average, tensors, ...settings } = options;
  for (const { index: i, indexOfV } of updatedTensors({ params, v: vs, weightDecay, ...(tensors && { tensors }) })) {
    const param = params.tensors[i]!;
    const [grad, m, v] = [grads.tensors[i]!, ms.tensors[i]!, vs.tensors[indexOfV]!];
    expectSizes('adamw', { grad: [grad, param.size], m: [m, param.size], v: [v, param.size] });
    device.write([param, m, v], () => {
      const old = { param: device.read(param), grad: device.read(grad), m: device.read(m), v: device.read(v) };
      const updated = math.adamw(device.ops, old, { ...settings, weightDecay: weightDecay[i]! });
      return [updated.param, updated.m, updated.v];
    });
    if (zeroGrads === true) zero(device, grad);
    if (average === undefined) continue;
    const old = average.group.tensors[i]!;
    expectSizes('adamw', { average: [old, param.size] });
    device.write([old], () => [math.averaged(device.ops, device.read(old), device.read(param), average.weight)]);
  }
}

export function weightedSum(device: TfjsDevice, options: KernelOptions<'weightedSum'>): void {
  const { rows, columns, scaleA, scaleB } = options;
  const { out, a, b } = weightedSumParts(options);
  const { tf } = device.ops;
  const partOf = ({ tensor, row, column }: PlacedMatrix) =>
    tf.slice(device.rows(tensor), [row, column], [rows, columns]);
  device.write([out.tensor], () => {
    const sum = tf.add(tf.mul(partOf(a), scaleA), tf.mul(partOf(b), scaleB));
    return [math.withPart(device.ops, device.rows(out.tensor), sum, [out.row, out.column])];
  });
}

export function normalise(device: TfjsDevice, { tensor, eps }: KernelOptions<'normalise'>): void {
  const { tf } = device.ops;
  device.write([tensor], () => {
    const values = device.read(tensor);
    return [tf.div(values, tf.maximum(tf.sqrt(tf.sum(math.rowSquares(device.ops, values))), eps))];
  });
}
