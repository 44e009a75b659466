/** Layer norms. */
import type { KernelOptions } from '../../kernels.ts';
import { checkGradients } from '../../linearOptions.ts';
import { expectRows } from '../checks.ts';
import { expectSizes } from '../deviceTensor.ts';
import * as math from '../math.ts';
import type { TfjsDevice } from '../tfjsDevice.ts';

export function layerNormForward(
  device: TfjsDevice,
  { out, mean, rstd, inp, weight, bias, eps }: KernelOptions<'layerNormForward'>,
): void {
  expectRows('layerNormForward', { inp, weight, mean, rstd, bias, out });
  device.write([out, mean, rstd], () => {
    const results = math.layerNorm(device.ops, device.rows(inp), device.read(weight), device.readOptional(bias), eps);
    return [results.out, results.mean, results.rstd];
  });
}

export function layerNormBackward(device: TfjsDevice, options: KernelOptions<'layerNormBackward'>): void {
  const { dinp, accumulate, dweight, dbias, dout, inp, weight, mean, rstd } = options;
  checkGradients('layerNormBackward', dinp, dweight, dbias);
  expectRows('layerNormBackward', { inp, weight, mean, rstd, bias: dbias, out: dout });
  expectSizes('layerNormBackward', { dinp: [dinp, inp.size], dweight: [dweight, weight.size] });
  const { tf } = device.ops;
  device.writeWanted([dinp, dweight, dbias], () => {
    const gradients = math.layerNormGradients(device.ops, {
      dout: device.rows(dout),
      inp: device.rows(inp),
      weight: device.read(weight),
      mean: tf.reshape(device.read(mean), [-1, 1]),
      rstd: tf.reshape(device.read(rstd), [-1, 1]),
    });
    return [
      dinp && device.accumulated(dinp, gradients.dinp, accumulate),
      dweight && device.accumulated(dweight, gradients.dweight, true),
      dbias && device.accumulated(dbias, gradients.dbias, true),
    ];
  });
}
