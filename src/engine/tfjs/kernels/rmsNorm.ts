/** Norms by the root mean square. */
import type { KernelOptions } from '../../kernels.ts';
import { checkGradients } from '../../linearOptions.ts';
import { expectRows } from '../checks.ts';
import { expectSizes } from '../deviceTensor.ts';
import * as math from '../math.ts';
import type { TfjsDevice } from '../tfjsDevice.ts';

export function rmsNormForward(
  device: TfjsDevice,
  { out, rstd, inp, weight, eps }: KernelOptions<'rmsNormForward'>,
): void {
  expectRows('rmsNormForward', { inp, weight, rstd, out });
  device.write([out, rstd], () => {
    const results = math.rmsNorm(device.ops, device.rows(inp), device.read(weight), eps);
    return [results.out, results.rstd];
  });
}

export function rmsNormBackward(device: TfjsDevice, options: KernelOptions<'rmsNormBackward'>): void {
  const { dinp, accumulate, dweight, dout, inp, weight, rstd } = options;
  checkGradients('rmsNormBackward', dinp, dweight);
  expectRows('rmsNormBackward', { inp, weight, rstd, out: dout });
  expectSizes('rmsNormBackward', { dinp: [dinp, inp.size], dweight: [dweight, weight.size] });
  device.writeWanted([dinp, dweight], () => {
    const gradients = math.rmsNormGradients(device.ops, {
      dout: device.rows(dout),
      inp: device.rows(inp),
      weight: device.read(weight),
      rstd: device.ops.tf.reshape(device.read(rstd), [-1, 1]),
    });
    return [
      dinp && device.accumulated(dinp, gradients.dinp, accumulate),
      dweight && device.accumulated(dweight, gradients.dweight, true),
    ];
  });
}
