/** What the tfjs engine's kernels take: shapes that fit each other. Anything else is an InvariantError. */
import { lastExtent } from '../../base/shape.ts';
import { attentionShape } from '../attentionOptions.ts';
import type { AttentionOptions } from '../kernels.ts';
import type { Tensor } from '../tensor.ts';
import type { AttentionDims } from './attention.ts';
import { expectSizes } from './deviceTensor.ts';

/** The extents that `qkv` means, which the others fit. */
export function attentionDims(
  kernel: string,
  options: AttentionOptions,
  starts: Int32Array | null,
  outs: Record<string, Tensor>,
): AttentionDims {
  const { b, t, nHead, nKvHead, headSize, c } = attentionShape(options);
  expectSizes(kernel, { lse: [options.lse, 2 * b * nHead * t] });
  for (const [name, tensor] of Object.entries(outs)) expectSizes(kernel, { [name]: [tensor, b * t * c] });
  return { batchSize: b, time: t, nHead, nKvHead, headSize, starts };
}

/** The operands of a norm fit each other. */
export function expectRows(
  kernel: string,
  tensors: Record<'inp' | 'weight' | 'rstd' | 'out', Tensor> & { mean?: Tensor; bias?: Tensor | undefined },
): void {
  const { inp, weight, mean, rstd, out, bias } = tensors;
  const c = lastExtent(inp);
  expectSizes(kernel, {
    out: [out, inp.size],
    weight: [weight, c],
    bias: [bias, c],
    mean: [mean, inp.size / c],
    rstd: [rstd, inp.size / c],
  });
}
