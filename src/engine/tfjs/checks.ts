/** What the tfjs engine's kernels take: shapes that fit each other. Anything else is an InvariantError. */
import { invariant } from '../../base/errors.ts';
import { lastExtent } from '../../base/shape.ts';
import type { AttentionOptions } from '../kernels.ts';
import type { Tensor } from '../tensor.ts';
import type { AttentionDims } from './attention.ts';
import { expectSizes } from './deviceTensor.ts';

/** The extents that `qkv` means, which the others fit. */
export function attentionDims(
  kernel: string,
  { qkv, nHead, lse }: AttentionOptions,
  outs: Record<string, Tensor>,
): AttentionDims {
  const [batchSize = 0, time = 0, width = 0] = qkv.shape;
  const headSize = width / (3 * nHead);
  invariant(
    qkv.shape.length === 3 && Number.isInteger(headSize),
    `${kernel}: expected qkv [B, T, 3·${nHead}·HS], received [${qkv.shape.join(', ')}]`,
  );
  expectSizes(kernel, { lse: [lse, 2 * batchSize * nHead * time] });
  for (const [name, tensor] of Object.entries(outs)) expectSizes(kernel, { [name]: [tensor, qkv.size / 3] });
  return { batchSize, time, nHead, headSize };
}

/** The operands of a layer norm fit each other. */
export function expectRows(
  kernel: string,
  tensors: Record<'inp' | 'weight' | 'mean' | 'rstd' | 'out', Tensor> & { bias: Tensor | undefined },
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
