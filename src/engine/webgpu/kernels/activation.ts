/** The activations by themselves; linear.ts fuses them. */
import type { ActivationKind } from '../../../base/activations.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';
import { gpuTensor } from '../memory.ts';
import { flatMain, memoized, program } from '../program.ts';
import { activationFunctions } from '../wgsl/activations.ts';
import { sameSize } from './sameSize.ts';

const forward = memoized((kind: ActivationKind) =>
  program({
    name: `activationForward ${kind}`,
    bindings: { out: 'read_write f32', inp: 'read f32' },
    params: { count: 'u32' },
    code: activationFunctions(kind) + flatMain('out[i] = activate(inp[i]);'),
  }),
);

const backward = memoized((kind: ActivationKind) =>
  program({
    name: `activationBackward ${kind}`,
    bindings: { dinp: 'read_write f32', dout: 'read f32', inp: 'read f32' },
    params: { count: 'u32' },
    code: activationFunctions(kind) + flatMain('dinp[i] = dout[i] * activationSlope(inp[i]);'),
  }),
);

const backwardInPlace = memoized((kind: ActivationKind) =>
  program({
    name: `activationBackward in place ${kind}`,
    bindings: { dinp: 'read_write f32', inp: 'read f32' },
    params: { count: 'u32' },
    code: activationFunctions(kind) + flatMain('dinp[i] *= activationSlope(inp[i]);'),
  }),
);

export function activationForward(gpu: Gpu, { kind, out, inp }: KernelOptions<'activationForward'>): void {
  const to = gpuTensor(out, 'out');
  const tensors = { out: to, inp: sameSize(inp, 'inp', to) };
  gpu.runFlat(forward(kind), tensors, {}, to.size);
}

export function activationBackward(gpu: Gpu, { kind, dinp, dout, inp }: KernelOptions<'activationBackward'>): void {
  const to = gpuTensor(dinp, 'dinp');
  const tensors = { dinp: to, inp: sameSize(inp, 'inp', to) };
  if (dout === dinp) gpu.runFlat(backwardInPlace(kind), tensors, {}, to.size);
  else gpu.runFlat(backward(kind), { ...tensors, dout: sameSize(dout, 'dout', to) }, {}, to.size);
}
