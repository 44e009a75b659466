/** Linear layers, with what follows them. */
import type { KernelOptions } from '../../kernels.ts';
import { checkLinearBackward, checkLinearForward } from '../../linearOptions.ts';
import { activation as activate, activationGradient } from '../activations.ts';
import * as math from '../math.ts';
import type { TfjsDevice } from '../tfjsDevice.ts';

export function linearForward(device: TfjsDevice, options: KernelOptions<'linearForward'>): void {
  checkLinearForward(options);
  const { out, inp, weight, weightTransposed = false, bias, activation, residual, dropout, rowsApart } = options;
  const pre = activation?.preActivation;
  device.write(pre === undefined ? [out] : [out, pre], () => {
    const layer = { weight: device.read(weight), weightTransposed, bias: device.readOptional(bias) };
    const y = math.linear(device.ops, device.rows(inp), layer, rowsApart === true);
    if (activation !== undefined) {
      const active = activate(device.ops, activation.kind, y);
      return pre === undefined ? [active] : [active, y];
    }
    if (residual === undefined) return [y];
    const factors = dropout && device.dropoutFactors(dropout, out.shape[0] ?? 1, y.shape);
    return [device.ops.tf.add(device.rows(residual), factors === undefined ? y : device.ops.tf.mul(y, factors))];
  });
}

export function linearBackward(device: TfjsDevice, options: KernelOptions<'linearBackward'>): void {
  checkLinearBackward(options);
  const { inp, weight, weightTransposed = false, dout, dinp, accumulate, dinpActivation, dweight, dbias } = options;
  if (dinp !== undefined) {
    device.write([dinp], () => {
      const product = math.matMul(device.ops, device.rows(dout), device.read(weight), false, !weightTransposed);
      if (dinpActivation === undefined) return [device.accumulated(dinp, product, accumulate)];
      const { kind, preActivation } = dinpActivation;
      return [activationGradient(device.ops, kind, device.rows(preActivation), product)];
    });
  }
  if (dweight !== undefined) {
    device.write([dweight], () => {
      const gradient = math.linearWeightGradient(device.ops, device.rows(inp), device.rows(dout), weightTransposed);
      return [device.accumulated(dweight, gradient, true)];
    });
  }
  if (dbias === undefined) return;
  device.write([dbias], () => [device.accumulated(dbias, device.ops.tf.sum(device.rows(dout), 0), true)]);
}
