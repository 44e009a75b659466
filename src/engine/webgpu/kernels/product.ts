/**
 * Matrix products of tensors of any size: out [m, n] = a · b with an epilogue, a [m, k] and b [k, n] each stored as it is or transposed.
 * Tensors that exceed a binding are multiplied part by part. The order in which an element is summed depends on the shapes alone.
 */
import type { Gpu } from '../gpu.ts';
import { GROUPS_MAX } from '../program.ts';
import { addSlices, type Matrix, type Place, type ProductOptions, runProduct, stridesOf } from './productCall.ts';
import { extentOf, planFor, sliceCount } from './productPlan.ts';

type Interval = readonly [from: number, to: number];

/** Records the product. */
export function product(gpu: Gpu, options: ProductOptions): void {
  const { m, n, k } = options;
  const slices = sliceCount(options);
  const depth = Math.ceil(k / slices / 64) * 64;
  const planned = { ...options, plan: options.plan ?? planFor(gpu, options) };
  const steps = stepsOf(gpu, planned, Math.ceil(k / depth));
  for (const rows of intervals(m, steps.m)) {
    for (const columns of intervals(n, steps.n)) {
      const place = { firstRow: rows[0], firstColumn: columns[0], width: n };
      inSlices(gpu, partOfProduct(planned, { m: rows, n: columns }), depth, steps.k, place);
    }
  }
}

/** All terms of some rows and columns. */
function inSlices(gpu: Gpu, options: ProductOptions, depth: number, termsMax: number, place: Place): void {
  const { m, n, k, plan } = options;
  if (depth >= k) inTerms(gpu, options, termsMax, place);
  else if (plan?.program === 'rows' && k <= termsMax) runProduct(gpu, options, { ...place, depth });
  else {
    const slices = intervals(k, depth);
    gpu.withTemporary([slices.length * m, n], (sums) => {
      const sliced = { ...withoutEpilogue(options), out: { tensor: sums } };
      if (k <= termsMax) runProduct(gpu, sliced, { depth });
      else {
        for (const [i, slice] of slices.entries()) {
          const part = partOfProduct(sliced, { k: slice });
          inTerms(gpu, { ...part, out: { tensor: sums, from: i * m * n } }, termsMax, {});
        }
      }
      addSlices(gpu, options, sums, slices.length, place);
    });
  }
}

/** One sum for each element, in parts if it has more than `termsMax` terms: each part starts where the one before ended. */
function inTerms(gpu: Gpu, options: ProductOptions, termsMax: number, place: Place): void {
  const { m, n, k } = options;
  if (k <= termsMax) {
    runProduct(gpu, options, place);
    return;
  }
  const parts = intervals(k, termsMax).map((terms) => partOfProduct(options, { k: terms }));
  gpu.withTemporary([m, n], (sums) => {
    for (const [i, part] of parts.entries()) {
      const initial = i > 0 ? { initial: sums } : {};
      if (i === parts.length - 1) runProduct(gpu, part, { ...place, ...initial });
      else runProduct(gpu, { ...withoutEpilogue(part), out: { tensor: sums } }, initial);
    }
  });
}

function withoutEpilogue({ epilogue: _, ...options }: ProductOptions): ProductOptions {
  return options;
}

/** The product of some rows, columns or terms. */
function partOfProduct(
  options: ProductOptions,
  { m, n, k }: { m?: Interval; n?: Interval; k?: Interval },
): ProductOptions {
  const { a, b, out, transposeA = false, transposeB = false } = options;
  const [m0, m1] = m ?? [0, options.m];
  const [n0, n1] = n ?? [0, options.n];
  const [k0, k1] = k ?? [0, options.k];
  const shifted = ({ tensor, from = 0 }: Matrix, stride: number, row: number, column: number): Matrix => ({
    tensor,
    from: from + row * stride + column,
    stride,
  });
  const strides = stridesOf(options);
  return {
    ...options,
    m: m1 - m0,
    n: n1 - n0,
    k: k1 - k0,
    a: transposeA ? shifted(a, strides.a, k0, m0) : shifted(a, strides.a, m0, k0),
    b: transposeB ? shifted(b, strides.b, n0, k0) : shifted(b, strides.b, k0, n0),
    out: shifted(out, strides.out, m0, n0),
  };
}

/** The most rows, columns and terms that one call can bind; parts of several rows start at a multiple of 64 where they can. */
function stepsOf(gpu: Gpu, options: ProductOptions & Required<Pick<ProductOptions, 'plan'>>, slices: number) {
  const { transposeA = false, transposeB = false, m, n, k, plan } = options;
  const strides = stridesOf(options);
  const rowsMax = (rows: number, stride: number) => {
    if (rows * stride + 64 <= gpu.bindingFloatsMax) return rows;
    const most = Math.max(1, Math.floor((gpu.bindingFloatsMax - 64) / stride));
    return most >= 64 ? most - (most % 64) : most;
  };
  const ofA = rowsMax(transposeA ? k : m, strides.a);
  const ofB = rowsMax(transposeB ? n : k, strides.b);
  const { rows, columns } = extentOf(plan);
  return {
    m: Math.min(transposeA ? m : ofA, rowsMax(m, strides.out), rowsMax(m, slices * n), GROUPS_MAX * rows),
    n: Math.min(transposeB ? ofB : n, GROUPS_MAX * columns),
    k: Math.min(transposeA ? ofA : k, transposeB ? k : ofB),
  };
}

function intervals(size: number, step: number): Interval[] {
  return Array.from({ length: Math.ceil(size / step) }, (_, i) => [i * step, Math.min(size, (i + 1) * step)]);
}
