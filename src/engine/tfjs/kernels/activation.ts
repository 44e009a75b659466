/** Activations by themselves, and gated ones. */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { gatedShape } from '../../gatedOptions.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Tensor } from '../../tensor.ts';
import { activation as activate, activationGradient } from '../activations.ts';
import { expectSizes } from '../deviceTensor.ts';
import type { TfjsDevice } from '../tfjsDevice.ts';

export function activationForward(device: TfjsDevice, { kind, out, inp }: KernelOptions<'activationForward'>): void {
  expectSizes('activationForward', { out: [out, inp.size] });
  device.write([out], () => [activate(device.ops, kind, device.read(inp))]);
}

export function activationBackward(
  device: TfjsDevice,
  { kind, dinp, dout, inp }: KernelOptions<'activationBackward'>,
): void {
  expectSizes('activationBackward', { dinp: [dinp, inp.size], dout: [dout, inp.size] });
  device.write([dinp], () => [activationGradient(device.ops, kind, device.rows(inp), device.rows(dout))]);
}

export function gatedActivationForward(
  device: TfjsDevice,
  { kind, out, inp }: KernelOptions<'gatedActivationForward'>,
): void {
  gatedShape('gatedActivationForward', inp, out);
  device.write([out], () => {
    const [gate, up] = halves(device, inp);
    return [device.ops.tf.mul(activate(device.ops, kind, gate), up)];
  });
}

export function gatedActivationBackward(
  device: TfjsDevice,
  { kind, dinp, dout, inp }: KernelOptions<'gatedActivationBackward'>,
): void {
  const { n } = gatedShape('gatedActivationBackward', inp, dout);
  expectSizes('gatedActivationBackward', { dinp: [dinp, inp.size] });
  const { tf } = device.ops;
  device.write([dinp], () => {
    const [gate, up] = halves(device, inp);
    const gradient = tf.reshape(device.read(dout), [n, -1]);
    const dgate = activationGradient(device.ops, kind, gate, tf.mul(gradient, up));
    return [tf.concat([dgate, tf.mul(gradient, activate(device.ops, kind, gate))], 1)];
  });
}

/** The two halves of the rows. */
function halves(device: TfjsDevice, tensor: Tensor): [TfTensor, TfTensor] {
  return device.ops.tf.split(device.rows(tensor), 2, 1) as [TfTensor, TfTensor];
}
