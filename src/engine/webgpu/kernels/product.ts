/**
 * Matrix products of tensors of any size: out [m, n] = a · b with an epilogue, a [m, k] and b [k, n] each stored as it is or transposed.
 * Tensors that exceed a binding are multiplied part by part. The order in which an element is summed depends on the shapes alone.
 */
import { invariant } from '../../../base/errors.ts';
import type { Bound } from '../commands.ts';
import type { Gpu } from '../gpu.ts';
import type { GpuTensor } from '../memory.ts';
import { type Binding, flatGroups, flatMain, memoizedByFields, program, type Scalar } from '../program.ts';
import { type Epilogue, type EpilogueVariant, epilogueCall, epilogueText, epilogueVariant } from './epilogue.ts';
import { lanesProgram } from './productLanes.ts';
import { tileProgram } from './productTile.ts';
import { extentOf, planFor } from './productTiles.ts';

/** The most workgroups in one dimension that every device allows. */
const GROUPS_MAX = 65_535;

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
  /** Each element is one sum in the order of k, so a row's bits do not depend on `m`. */
  readonly rowsApart?: boolean;
}

/** Records the product. */
export function product(gpu: Gpu, options: ProductOptions): void {
  const { m, n, k } = options;
  const slices = options.rowsApart === true ? 1 : sliceCount(m, n, k);
  if (slices === 1) {
    inParts(gpu, options);
    return;
  }
  const depth = Math.ceil(k / slices / 64) * 64;
  const count = Math.ceil(k / depth);
  gpu.withTemporary([count * m, n], (sums) => {
    const { epilogue: _, ...operands } = options;
    const sliced = { ...operands, out: { tensor: sums } };
    if (isOnePart(gpu, sliced)) runTiles(gpu, sliced, { depth });
    else {
      for (let slice = 0; slice < count; slice++) {
        const part = partOf(options, { k: [slice * depth, Math.min(k, (slice + 1) * depth)] });
        inParts(gpu, { ...sliced, ...part, out: { tensor: sums, from: slice * m * n } });
      }
    }
    addSlices(gpu, options, sums, count);
  });
}

/**
 * In how many slices k is summed, so that a product of few tiles and long sums, as of a weight's gradient, fills a GPU: about 256
 * workgroups of 64 × 64 elements.
 */
function sliceCount(m: number, n: number, k: number): number {
  const tiles = Math.ceil(m / 64) * Math.ceil(n / 64);
  if (tiles >= 128) return 1;
  return Math.max(1, Math.min(Math.ceil(256 / tiles), Math.floor(k / 256), 32));
}

type Interval = readonly [from: number, to: number];

/** The product of some rows, columns or terms. */
function partOf(options: ProductOptions, { m, n, k }: { m?: Interval; n?: Interval; k?: Interval }) {
  const { a, b, out, transposeA = false, transposeB = false } = options;
  const [m0, m1] = m ?? [0, options.m];
  const [n0, n1] = n ?? [0, options.n];
  const [k0, k1] = k ?? [0, options.k];
  const shifted = (matrix: Matrix, stride: number, row: number, column: number): Matrix => ({
    tensor: matrix.tensor,
    from: (matrix.from ?? 0) + row * stride + column,
    stride,
  });
  const strides = stridesOf(options);
  return {
    m: m1 - m0,
    n: n1 - n0,
    k: k1 - k0,
    a: transposeA ? shifted(a, strides.a, k0, m0) : shifted(a, strides.a, m0, k0),
    b: transposeB ? shifted(b, strides.b, n0, k0) : shifted(b, strides.b, k0, n0),
    out: shifted(out, strides.out, m0, n0),
  };
}

function stridesOf({ a, b, out, transposeA = false, transposeB = false, m, n, k }: ProductOptions) {
  return {
    a: a.stride ?? (transposeA ? m : k),
    b: b.stride ?? (transposeB ? k : n),
    out: out.stride ?? n,
  };
}

/** The most rows, columns and terms that one call can bind, each all or a multiple of 64. */
function stepsOf(gpu: Gpu, options: ProductOptions) {
  const { transposeA = false, transposeB = false, m, n, k } = options;
  const strides = stridesOf(options);
  const rowsMax = (rows: number, stride: number) => {
    if (rows * stride + 64 <= gpu.bindingFloatsMax) return rows;
    const most = Math.floor((gpu.bindingFloatsMax - 64) / stride);
    return most >= 64 ? most - (most % 64) : most;
  };
  const ofA = rowsMax(transposeA ? k : m, strides.a);
  const ofB = rowsMax(transposeB ? n : k, strides.b);
  const tile = extentOf(planFor(gpu, m));
  return {
    m: Math.min(transposeA ? m : ofA, rowsMax(m, strides.out), GROUPS_MAX * tile.rows),
    n: Math.min(transposeB ? ofB : n, GROUPS_MAX * tile.columns),
    k: Math.min(transposeA ? ofA : k, transposeB ? k : ofB),
  };
}

function isOnePart(gpu: Gpu, options: ProductOptions): boolean {
  const steps = stepsOf(gpu, options);
  return steps.m >= options.m && steps.n >= options.n && steps.k >= options.k;
}

/** Part by part as tensors fit bindings. Sums in several parts start where the part before ended, which leaves their order. */
function inParts(gpu: Gpu, options: ProductOptions): void {
  const steps = stepsOf(gpu, options);
  const whole = { width: options.n };
  for (const m of intervals(options.m, steps.m)) {
    for (const n of intervals(options.n, steps.n)) {
      const place = { firstRow: m[0], firstColumn: n[0], whole };
      const terms = intervals(options.k, steps.k).map((k) => ({ ...options, ...partOf(options, { m, n, k }) }));
      if (terms.length === 1) runTiles(gpu, terms[0]!, place);
      else {
        gpu.withTemporary([m[1] - m[0], n[1] - n[0]], (sums) => {
          for (const [i, part] of terms.entries()) {
            const initial = i > 0 ? { initial: sums } : {};
            if (i === terms.length - 1) runTiles(gpu, part, { ...place, ...initial });
            else {
              const { epilogue: _, ...plain } = part;
              runTiles(gpu, { ...plain, out: { tensor: sums } }, initial);
            }
          }
        });
      }
    }
  }
}

function intervals(size: number, step: number): Interval[] {
  return Array.from({ length: Math.ceil(size / step) }, (_, i) => [i * step, Math.min(size, (i + 1) * step)]);
}

interface Place {
  /** What one slice sums; absent: all. Slice z stores its rows after those of the slices before. */
  readonly depth?: number;
  readonly firstRow?: number;
  readonly firstColumn?: number;
  /** The columns of the complete result; absent: those of the part. */
  readonly whole?: { readonly width: number };
  /** [m, n]: where sums start. */
  readonly initial?: GpuTensor;
}

/** One call of a program. */
function runTiles(gpu: Gpu, options: ProductOptions, place: Place): void {
  const { a, b, out, transposeA = false, transposeB = false, m, n, k, epilogue = {} } = options;
  const { depth = k, firstRow = 0, firstColumn = 0, whole = { width: n }, initial } = place;
  const slices = Math.ceil(k / depth);
  const strides = stridesOf(options);
  const boundA = bind(a, transposeA ? k : m, transposeA ? m : k, strides.a);
  const boundB = bind(b, transposeB ? n : k, transposeB ? k : n, strides.b);
  const boundOut = bind(out, slices * m, n, strides.out);
  const plan = planFor(gpu, m);
  const { rows, columns } = extentOf(plan);
  const ending = epilogueCall(epilogue, out.tensor, whole.width, (tensor) => ({ ...boundOut.bound, tensor }));
  const variant = epilogueVariant(epilogue, out.tensor, [n, whole.width, strides.out, boundOut.from]);
  const continues = initial !== undefined;
  const program =
    plan.program === 'lanes'
      ? lanesProgram({ ...plan, continues, ...variant, vector: false })
      : tileProgram({
          ...plan,
          transposeA,
          transposeB,
          vectorA: boundA.isVector,
          vectorB: boundB.isVector,
          continues,
          ...variant,
        });
  const [aStrides, bStrides] = [
    transposeA ? [1, strides.a] : [strides.a, 1],
    transposeB ? [strides.b, 1] : [1, strides.b],
  ];
  gpu.run(program, {
    tensors: { ...ending.tensors, a: boundA.bound, b: boundB.bound, ...(initial && { initial }) },
    params: {
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
      ...(plan.program === 'lanes' && {
        aRowStride: aStrides[0]!,
        aStride: aStrides[1]!,
        bColumnStride: bStrides[0]!,
        bStride: bStrides[1]!,
      }),
      ...ending.params,
    },
    groups: [Math.ceil(n / columns), Math.ceil(m / rows), slices],
  });
}

/** The range of a tensor that holds a matrix, and where it starts in that range. */
function bind({ tensor, from = 0 }: Matrix, rows: number, columns: number, stride: number) {
  const start = Math.floor(from / 64) * 64;
  const end = from + (rows - 1) * stride + columns;
  invariant(columns <= stride && end <= tensor.size, `a matrix [${rows}, ${columns}] in a tensor [${tensor.shape}]`);
  const bound: Bound & object = {
    tensor,
    from: start,
    length: Math.min(tensor.size, Math.ceil(end / 64) * 64) - start,
  };
  return { bound, from: from - start, isVector: [stride, from, tensor.size].every((size) => size % 4 === 0) };
}

/** The sum of slices in their order, with the epilogue. */
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

function addSlices(gpu: Gpu, { out, m, n, epilogue = {} }: ProductOptions, sums: GpuTensor, slices: number): void {
  const stride = out.stride ?? n;
  const bound = bind(out, m, n, stride);
  const variant = epilogueVariant(epilogue, out.tensor, [n, n, stride, bound.from]);
  const count = (m * n) / (variant.vector ? 4 : 1);
  const ending = epilogueCall(epilogue, out.tensor, n, (tensor) => ({ ...bound.bound, tensor }));
  gpu.run(sliceSum(variant), {
    tensors: { ...ending.tensors, sums },
    params: {
      m,
      n,
      outFrom: bound.from,
      outStride: stride,
      firstRow: 0,
      firstColumn: 0,
      count,
      slices,
      ...ending.params,
    },
    groups: flatGroups(count),
  });
}
