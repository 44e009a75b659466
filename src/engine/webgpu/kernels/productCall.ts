/** One call of a product's program, and the sum of its slices: all operands fit a binding. */
import { invariant } from '../../../base/errors.ts';
import type { Bound } from '../commands.ts';
import type { Gpu } from '../gpu.ts';
import { BINDING_ALIGNMENT, type GpuTensor } from '../memory.ts';
import { type Binding, flatGroups, flatMain, memoizedByFields, program, type Scalar } from '../program.ts';
import { type Epilogue, type EpilogueVariant, epilogueCall, epilogueText, epilogueVariant } from './epilogue.ts';
import { lanesProgram } from './productLanes.ts';
import { matrixProgram } from './productMatrix.ts';
import { extentOf, type ProductPlan, planFor } from './productPlan.ts';
import { rowsProgram } from './productRows.ts';
import { tileProgram } from './productTile.ts';

/** A matrix in a tensor. */
export interface Matrix {
  readonly tensor: GpuTensor;
  /** Its first element in the tensor; 0 if absent. */
  readonly from?: number;
  /** The distance of its stored rows; if absent, their length. */
  readonly stride?: number;
}

export interface ProductOptions {
  /** [m, n]. */
  readonly out: Matrix;
  /** [m, k]; with `transposeA` stored as [k, m]. */
  readonly a: Matrix;
  readonly transposeA?: boolean;
  /** [k, n]; with `transposeB` stored as [n, k]. */
  readonly b: Matrix;
  readonly transposeB?: boolean;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Absent: the sum is assigned. */
  readonly epilogue?: Epilogue;
  /** The bits of a row are those that it has with m = 1. */
  readonly rowsApart?: boolean;
  /** Whether operands are rounded to float16. */
  readonly half?: boolean;
  /** For tests: another device's plan. */
  readonly plan?: ProductPlan;
}

/** Which part of a product a call computes. */
export interface Place {
  /** The terms of one slice; absent: all. Slice z stores its rows after those of the slices before. */
  readonly depth?: number;
  /** Where the part starts in the complete result. */
  readonly firstRow?: number;
  readonly firstColumn?: number;
  /** The columns of the complete result; absent: those of the part. */
  readonly width?: number;
  /** [m, n]: where sums start. */
  readonly initial?: GpuTensor;
}

/** The distances of the rows of each matrix as it is stored. */
export function stridesOf({ a, b, out, transposeA = false, transposeB = false, m, n, k }: ProductOptions) {
  return { a: a.stride ?? (transposeA ? m : k), b: b.stride ?? (transposeB ? k : n), out: out.stride ?? n };
}

/** The range of a tensor that holds a matrix, and where it starts in that range. */
function bind({ tensor, from = 0 }: Matrix, rows: number, columns: number, stride: number) {
  const start = Math.floor(from / BINDING_ALIGNMENT) * BINDING_ALIGNMENT;
  const end = from + (rows - 1) * stride + columns;
  invariant(columns <= stride && end <= tensor.size, `a matrix [${rows}, ${columns}] in a tensor [${tensor.shape}]`);
  const length = Math.min(tensor.size, Math.ceil(end / BINDING_ALIGNMENT) * BINDING_ALIGNMENT) - start;
  const bound: Bound & object = { tensor, from: start, length };
  return { bound, from: from - start, isVector: [stride, from, tensor.size].every((size) => size % 4 === 0) };
}

/** Records one call. */
export function runProduct(gpu: Gpu, options: ProductOptions, place: Place): void {
  const { a, b, out, transposeA = false, transposeB = false, m, n, k, half = false, epilogue = {} } = options;
  const { depth = k, firstRow = 0, firstColumn = 0, width = n, initial } = place;
  const plan = options.plan ?? planFor(gpu, options);
  invariant(plan.program !== 'matrix' || half === (plan.element === 'f16'), 'the plan has another element');
  const isWhole = plan.program === 'rows';
  const slices = isWhole ? 1 : Math.ceil(k / depth);
  const strides = stridesOf(options);
  const boundA = bind(a, transposeA ? k : m, transposeA ? m : k, strides.a);
  const boundB = bind(b, transposeB ? n : k, transposeB ? k : n, strides.b);
  const boundOut = bind(out, slices * m, n, strides.out);
  const ending = epilogueCall(epilogue, out.tensor, width, (tensor) => ({ ...boundOut.bound, tensor }));
  const variant = epilogueVariant(epilogue, out.tensor, [n, width, strides.out, boundOut.from]);
  const tensors = { ...ending.tensors, a: boundA.bound, b: boundB.bound, ...(initial && { initial }) };
  const { rows, columns } = extentOf(plan);
  const params = {
    m,
    n,
    k,
    depth,
    aFrom: boundA.from,
    aStride: strides.a,
    bFrom: boundB.from,
    bStride: strides.b,
    outFrom: boundOut.from,
    outStride: strides.out,
    firstRow,
    firstColumn,
    ...ending.params,
  };
  const groups = [Math.ceil(n / columns), Math.ceil(m / rows), slices] as const;
  const continues = initial !== undefined;
  if (plan.program === 'lanes') {
    const [aRowStride, aStride] = transposeA ? [1, strides.a] : [strides.a, 1];
    const [bColumnStride, bStride] = transposeB ? [strides.b, 1] : [1, strides.b];
    const ofLanes = { ...params, aRowStride, aStride, bColumnStride, bStride };
    // A slice that ends within a turn of the loop is summed one by one: the order of its terms is the same.
    const terms = [k, depth].every((length) => length % plan.terms === 0) ? plan.terms : 1;
    gpu.run(lanesProgram({ ...plan, terms, half, continues, ...variant, vector: false }), {
      tensors,
      params: ofLanes,
      groups,
    });
  } else if (plan.program === 'rows') {
    const few = rowsProgram({ transposeA, transposeB, half, continues, ...variant, vector: false });
    gpu.run(few, { tensors, params, groups });
  } else {
    const [vectorA, vectorB] = [boundA.isVector, boundB.isVector];
    const layout = { transposeA, transposeB, vectorA, vectorB };
    const tile =
      plan.program === 'matrix'
        ? matrixProgram({ ...plan, ...layout, continues, ...variant })
        : tileProgram({ ...plan, ...layout, half, continues, ...variant });
    gpu.run(tile, { tensors, params, groups });
  }
}

/** The slices of a sum in their order, with the epilogue. */
const sliceSum = memoizedByFields((variant: EpilogueVariant) => {
  const { bindings, params, code } = epilogueText(variant);
  const [element, width] = variant.vector ? ['vec4f', 4] : ['f32', 1];
  return program({
    name: 'sum of slices',
    bindings: { ...bindings, sums: `read ${element}` as Binding },
    params: { ...params, count: 'u32', slices: 'u32' } as Record<string, Scalar>,
    code:
      code +
      flatMain(`
  var sum = sums[i];
  for (var slice = 1u; slice < params.slices; slice++) { sum += sums[slice * params.count + i]; }
  let row = i * ${width}u / params.n;
  finish(row, i * ${width}u - row * params.n, sum);`),
  });
});

/** Records out = the sum of `sums` [slices, m, n], with the epilogue of the options. */
export function addSlices(gpu: Gpu, options: ProductOptions, sums: GpuTensor, slices: number, place: Place): void {
  const { out, m, n, epilogue = {} } = options;
  const { firstRow = 0, firstColumn = 0, width = n } = place;
  const stride = out.stride ?? n;
  const { bound, from } = bind(out, m, n, stride);
  const variant = epilogueVariant(epilogue, out.tensor, [n, width, stride, from]);
  const count = (m * n) / (variant.vector ? 4 : 1);
  const ending = epilogueCall(epilogue, out.tensor, width, (tensor) => ({ ...bound, tensor }));
  const params = { m, n, outFrom: from, outStride: stride, firstRow, firstColumn, count, slices, ...ending.params };
  gpu.run(sliceSum(variant), { tensors: { ...ending.tensors, sums }, params, groups: flatGroups(count) });
}
