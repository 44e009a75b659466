/** Losses: of logits, and of a head whose logits exist for some rows at a time. */
import { lastExtent } from '../../../base/shape.ts';
import { expectTargets } from '../../hostIntegers.ts';
import type { KernelOptions } from '../../kernels.ts';
import { linearShape, logitsRows } from '../../linearOptions.ts';
import { expectSizes } from '../deviceTensor.ts';
import * as math from '../math.ts';
import type { TfjsDevice } from '../tfjsDevice.ts';

export function crossEntropy(
  device: TfjsDevice,
  { losses, logits, targets, dlogits, scale = 1, weights }: KernelOptions<'crossEntropy'>,
): void {
  expectSizes('crossEntropy', {
    losses: [losses, targets.size],
    logits: [logits, targets.size * lastExtent(logits)],
    dlogits: [dlogits, logits.size],
    weights: [weights, targets.size],
  });
  const host = device.hostIntegers(targets);
  expectTargets('crossEntropy', host, lastExtent(logits));
  device.write(dlogits === undefined ? [losses] : [losses, dlogits], () => {
    const gradient = dlogits && { scale, weights: device.readOptional(weights) };
    const results = math.crossEntropy(device.ops, device.rows(logits), host, gradient);
    return results.dlogits === undefined ? [results.losses] : [results.losses, results.dlogits];
  });
}

export function linearCrossEntropy(device: TfjsDevice, options: KernelOptions<'linearCrossEntropy'>): void {
  const { losses, targets, inp, weight, weightTransposed = false, scale = 1, weights, dinp, dweight } = options;
  const n = targets.size;
  const v = linearShape(options).oc;
  expectSizes('linearCrossEntropy', {
    inp: [inp, n * lastExtent(inp)],
    losses: [losses, n],
    weights: [weights, n],
    dinp: [dinp, inp.size],
    dweight: [dweight, weight.size],
  });
  const host = device.hostIntegers(targets);
  expectTargets('linearCrossEntropy', host, v);
  device.writeWanted([losses, dinp, dweight], () => {
    const operands = { inp: device.rows(inp), weight: device.read(weight), weightTransposed, targets: host };
    const wanted = {
      scale,
      weights: device.readOptional(weights),
      dinp: dinp !== undefined,
      dweight: dweight && device.read(dweight),
    };
    const results = math.linearCrossEntropy(device.ops, operands, logitsRows(n, v), wanted);
    return [results.losses, results.dinp, results.dweight];
  });
}
