/** Gated activations: act(gate) · up of rows gate|up. */
import type { ActivationKind } from '../../../base/activations.ts';
import { gatedShape } from '../../gatedOptions.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';
import { gpuTensor } from '../memory.ts';
import { flatGroups, flatMain, memoized, program } from '../program.ts';
import { activationFunctions } from '../wgsl/activations.ts';
import { partOf, rowParts } from './rowParts.ts';
import { ofSize, sameSize } from './sameSize.ts';

const params = { count: 'u32', inner: 'u32' } as const;

/** Element i of [N, I], whose gate is element `at` of [N, 2I]. */
const place = 'let at = i + i / params.inner * params.inner;';

const forward = memoized((kind: ActivationKind) =>
  program({
    name: `gatedActivationForward ${kind}`,
    bindings: { out: 'read_write f32', inp: 'read f32' },
    params,
    code: activationFunctions(kind) + flatMain(`${place}\n  out[i] = activate(inp[at]) * inp[at + params.inner];`),
  }),
);

const gradients = (inp: string): string =>
  flatMain(`
  ${place}
  let gate = ${inp}[at];
  let up = ${inp}[at + params.inner];
  dinp[at] = dout[i] * up * activationSlope(gate);
  dinp[at + params.inner] = dout[i] * activate(gate);`);

const backward = memoized((kind: ActivationKind) =>
  program({
    name: `gatedActivationBackward ${kind}`,
    bindings: { dinp: 'read_write f32', dout: 'read f32', inp: 'read f32' },
    params,
    code: activationFunctions(kind) + gradients('inp'),
  }),
);

const backwardInPlace = memoized((kind: ActivationKind) =>
  program({
    name: `gatedActivationBackward in place ${kind}`,
    bindings: { dinp: 'read_write f32', dout: 'read f32' },
    params,
    code: activationFunctions(kind) + gradients('dinp'),
  }),
);

export function gatedActivationForward(gpu: Gpu, options: KernelOptions<'gatedActivationForward'>): void {
  const { n, inner } = gatedShape('gatedActivationForward', options.inp, options.out);
  const [inp, out] = [gpuTensor(options.inp, 'inp'), ofSize(options.out, 'out', n * inner)];
  for (const part of rowParts(gpu, n, 2 * inner)) {
    const count = part.rows * inner;
    gpu.run(forward(options.kind), {
      tensors: { out: partOf(out, part, inner), inp: partOf(inp, part, 2 * inner) },
      params: { count, inner },
      groups: flatGroups(count),
    });
  }
}

export function gatedActivationBackward(gpu: Gpu, options: KernelOptions<'gatedActivationBackward'>): void {
  const { kind } = options;
  const { n, inner } = gatedShape('gatedActivationBackward', options.inp, options.dout);
  const inp = gpuTensor(options.inp, 'inp');
  const [dinp, dout] = [sameSize(options.dinp, 'dinp', inp), ofSize(options.dout, 'dout', n * inner)];
  for (const part of rowParts(gpu, n, 2 * inner)) {
    const count = part.rows * inner;
    const tensors = { dinp: partOf(dinp, part, 2 * inner), dout: partOf(dout, part, inner) };
    const call = { params: { count, inner }, groups: flatGroups(count) };
    if (dinp === inp) gpu.run(backwardInPlace(kind), { tensors, ...call });
    else gpu.run(backward(kind), { tensors: { ...tensors, inp: partOf(inp, part, 2 * inner) }, ...call });
  }
}
