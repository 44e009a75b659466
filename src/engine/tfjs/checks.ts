/** What the tfjs engine's kernels take: shapes that fit each other. Anything else is an InvariantError. */
import { InvariantError } from '../../base/errors.ts';
import { lastExtent } from '../../base/shape.ts';
import { type AttentionOptions, attentionShape } from '../attentionOptions.ts';
import { expectStarts } from '../documents.ts';
import { expectRanges } from '../hostIntegers.ts';
import type { Tensor } from '../tensor.ts';
import type { AttentionDims } from './attentionMath.ts';
import { expectSizes } from './deviceTensor.ts';

/** The extents that the operands mean, which the others fit. */
export function attentionDims(
  kernel: string,
  options: AttentionOptions,
  outs: Record<string, Tensor>,
  integers: (tensor: Tensor) => Int32Array,
): AttentionDims {
  const { b, tq, tk, nHead, nKvHead, headSize, c } = attentionShape(options);
  expectSizes(kernel, {
    lse: [options.lse, 2 * b * nHead * tq],
    starts: [options.starts, b * tq],
    ends: [options.ends, b * tq],
  });
  for (const [name, tensor] of Object.entries(outs)) expectSizes(kernel, { [name]: [tensor, b * tq * c] });
  const [starts, ends] = [options.starts && integers(options.starts), options.ends && integers(options.ends)];
  if (ends !== undefined) expectRanges(kernel, { starts, ends }, { queries: tq, keys: tk });
  else if (tq !== tk) throw new InvariantError(`${kernel}: ${tq} queries of ${tk} keys need the ends of their ranges`);
  else if (starts !== undefined) expectStarts(kernel, starts, tq);
  return { batchSize: b, queries: tq, keys: tk, nHead, nKvHead, headSize, starts: starts ?? null, ends: ends ?? null };
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
