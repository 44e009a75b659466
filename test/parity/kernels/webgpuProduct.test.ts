/**
 * The programs that GPUs get for products, on whatever device there is: each element is summed in one order, so the bits are the same. Matrix units
 * have an order of their own, and are tested where the device has them (scripts/matrixUnits.sh).
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Gpu } from '../../../src/engine/webgpu/gpu.ts';
import { matrixRate } from '../../../src/engine/webgpu/kernels/matrixLimit.ts';
import { product } from '../../../src/engine/webgpu/kernels/product.ts';
import { matrixProgram } from '../../../src/engine/webgpu/kernels/productMatrix.ts';
import { gpuPlans, matrixPlan, type ProductPlan, planFor } from '../../../src/engine/webgpu/kernels/productPlan.ts';
import type { MatrixUnit } from '../../../src/engine/webgpu/matrixUnits.ts';
import type { GpuTensor } from '../../../src/engine/webgpu/memory.ts';
import { openGpu } from '../../../src/engine/webgpu/openDevice.ts';
import { wgslOf } from '../../../src/engine/webgpu/program.ts';
import { softwareLanes } from '../../../src/engine/webgpu/softwareLanes.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { nightlyIt } from '../../nightly.ts';
import { isNightly } from '../../skippedTests.ts';
import { hasMatrixUnits, whyUnavailable } from '../webgpu.ts';
import { roundedToFloat16 } from './float16.ts';
import { relativeError, seededValues } from './harness.ts';

const unavailable = await whyUnavailable(createWebgpuEngine);
if (unavailable !== undefined) process.stdout.write(`webgpu: programs of products not run: ${unavailable}\n`);
const withUnits = await hasMatrixUnits();

/** Two workgroups in each direction, several steps of k, edges. */
const tile: ProductPlan = { program: 'tile', rows: 16, columns: 16, depth: 8, threadRows: 4, threadColumns: 4 };
/** Whether a is stored as [k, m] and b as [n, k]. */
const layouts = [
  { transposeA: false, transposeB: false },
  { transposeA: false, transposeB: true },
  { transposeA: true, transposeB: false },
];

describe.runIf(unavailable === undefined)('programs of products', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu?.close());

  function put(values: Float32Array): GpuTensor {
    const tensor = gpu.memory.alloc([values.length], 'float32');
    gpu.commands.write(tensor.buffer, tensor.byteOffset, values);
    return tensor;
  }

  type Layout = (typeof layouts)[number];
  interface Shape {
    readonly m: number;
    readonly n: number;
    readonly k: number;
    readonly rowsApart?: boolean;
    /** Operands are rounded to float16. */
    readonly half?: boolean;
  }

  /** What a plan computes, and what it is in float64. */
  async function results(plans: readonly ProductPlan[], { transposeA, transposeB }: Layout, shape: Shape) {
    const { m, n, k, half = false } = shape;
    const [wholeA, wholeB] = [seededValues(1, m * k), seededValues(2, k * n)];
    const [a, b] = [wholeA, wholeB].map((values) => (half ? roundedToFloat16(values) : values)) as [
      Float32Array,
      Float32Array,
    ];
    const [bias, before] = [seededValues(3, n), seededValues(4, m * n)];
    const [boundA, boundB, boundBias] = [put(wholeA), put(wholeB), put(bias)];
    const made: Float32Array[] = [];
    for (const plan of plans) {
      const out = put(before);
      const epilogue = { bias: boundBias, residual: out };
      const operands = { a: { tensor: boundA }, b: { tensor: boundB }, transposeA, transposeB, ...shape };
      product(gpu, { out: { tensor: out }, ...operands, epilogue, plan });
      const into = new Float32Array(m * n);
      await gpu.transfers.read(out.buffer, out.byteOffset, into);
      made.push(into);
      gpu.memory.release(out);
    }
    for (const tensor of [boundA, boundB, boundBias]) gpu.memory.release(tensor);
    const exact = Float64Array.from(before, (sum, i) => {
      const [row, column] = [Math.floor(i / n), i % n];
      let total = sum + bias[column]!;
      for (let t = 0; t < k; t++) {
        total += a[transposeA ? t * m + row : row * k + t]! * b[transposeB ? column * k + t : t * n + column]!;
      }
      return total;
    });
    return { made, exact };
  }

  async function expectSameBits(plans: readonly ProductPlan[], layout: Layout, shape: Shape): Promise<void> {
    const { made, exact } = await results(plans, layout, shape);
    expect(relativeError(made[0]!, exact)).toBeLessThan(2e-6);
    for (const values of made.slice(1)) expect(values).toEqual(made[0]);
  }

  // Software drivers take many seconds to compile a tile, and no other device is at hand in CI: it compiles one there.
  it('a tile has the bits that rows have', async () => {
    await expectSameBits([{ program: 'rows' }, tile], layouts[0]!, { m: 20, n: 28, k: 300 });
  });

  it.each(layouts)('few rows, a transposed $transposeA, b transposed $transposeB', async (layout) => {
    await expectSameBits([{ program: 'rows' }], layout, { m: 7, n: 35, k: 33 });
    await expectSameBits([{ program: 'rows' }], layout, { m: 7, n: 35, k: 300, rowsApart: true });
  });

  it('tiles of software drivers have the same bits: small and large, one term and several a turn, even, odd and sliced sums', async () => {
    const lanes = softwareLanes(gpu);
    if (lanes === 0) return; // a GPU, or a software driver that says too little of itself
    const small = [1, 2].map(
      (terms): ProductPlan => ({ program: 'lanes', lanes, rowsPerLane: 1, columnsPerLane: 1, terms }),
    );
    const [medium, large] = [192, 256].map((size) => planFor(gpu, { m: size, n: size, k: size }));
    expect([medium, large]).toMatchObject([{ terms: 4 }, { terms: 2 }]);
    for (const layout of layouts) await expectSameBits([...small, medium!], layout, { m: 40, n: 44, k: 300 });
    for (const k of [301, 600, 601]) await expectSameBits(small, layouts[0]!, { m: 20, n: 28, k });
    await expectSameBits([small[0]!, large!], layouts[2]!, { m: 70, n: 72, k: 34 });
  });

  it('float16: every program rounds to the nearest number, and sums in float32', async () => {
    if (!gpu.hasFloat16) return;
    const lanes = softwareLanes(gpu);
    const ofLanes: ProductPlan = { program: 'lanes', lanes, rowsPerLane: 1, columnsPerLane: 2, terms: 1 };
    const plans: ProductPlan[] = [{ program: 'rows' }, ...(lanes > 0 ? [ofLanes] : []), ...(isNightly ? [tile] : [])];
    const shape = { m: 20, n: 28, k: 300 };
    await expectSameBits(plans, layouts[0]!, { ...shape, half: true });
    for (const layout of layouts) await expectSameBits(plans.slice(0, 2), layout, { m: 7, n: 35, k: 33, half: true });
    const [rounded, whole] = [
      await results(plans.slice(0, 1), layouts[0]!, { ...shape, half: true }),
      await results([], layouts[0]!, shape),
    ];
    const error = relativeError(rounded.made[0]!, whole.exact);
    expect(error).toBeGreaterThan(1e-6);
    expect(error).toBeLessThan(2 ** -10);

    // Ties, denormals, the largest, and what is too large. The other factor is 1.
    const edges = [
      0,
      -0,
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      2 ** -14,
      2 ** -24,
      1.5 * 2 ** -24,
      2 ** -25,
      -(2 ** -26),
      65504,
      65519.9,
      -65520,
      1e9,
    ];
    const values = Float32Array.from([...edges, Number.POSITIVE_INFINITY, Number.NaN]);
    const expected = [...roundedToFloat16(values)].map((value) => value + 0);
    expect(expected.slice(9)).toEqual([65504, 65504, -Infinity, Infinity, Infinity, Number.NaN]);
    const [m, n, k] = [values.length, 1, 1];
    const [a, b] = [put(values), put(Float32Array.of(1))];
    for (const plan of plans) {
      const out = put(new Float32Array(m));
      product(gpu, { out: { tensor: out }, a: { tensor: a }, b: { tensor: b }, m, n, k, half: true, plan });
      const into = new Float32Array(m);
      await gpu.transfers.read(out.buffer, out.byteOffset, into);
      expect(
        [...into].map((value) => value + 0),
        plan.program,
      ).toEqual(expected);
      gpu.memory.release(out);
    }
  });

  describe.skipIf(!withUnits)('matrix units', () => {
    const shapes = [
      { m: 32, n: 32, k: 64 },
      { m: 35, n: 33, k: 43 },
      { m: 35, n: 33, k: 700 },
    ];
    // Small tiles, which a software driver compiles in seconds: two subgroups in each direction, each with a matrix or two. And those of GPUs.
    const small = ({ unitM, unitN, unitK }: MatrixUnit) => ({
      rows: 4 * unitM,
      columns: 2 * unitN,
      depth: 2 * unitK,
      subgroupRows: 2 * unitM,
      subgroupColumns: unitN,
    });

    const timeout = { timeout: 900_000 };
    it.each(layouts)('float16, a transposed $transposeA, b transposed $transposeB', timeout, async (layout) => {
      const unit = gpu.matrixUnits.f16!;
      for (const sizes of [small(unit), {}]) {
        const plan = { ...matrixPlan(unit), ...sizes } as ProductPlan;
        for (const shape of shapes) {
          const { made, exact } = await results([plan], layout, { ...shape, half: true });
          expect(relativeError(made[0]!, exact), JSON.stringify({ ...plan, ...shape })).toBeLessThan(2e-6);
        }
      }
    });

    it.each(['f16', 'f32'] as const)(
      'the program of a GPU with larger matrices of %s is valid WGSL',
      async (element) => {
        const plan = matrixPlan({ ...gpu.matrixUnits.f16!, element, unitM: 16, unitN: 16, unitK: 16, lanes: 32 });
        const epilogue = { kind: 'assign', activation: 'none', bias: true, dropout: false } as const;
        const layout = { transposeA: false, transposeB: true, vectorA: true, vectorB: false };
        for (const continues of [false, true]) {
          const variant = {
            ...(plan as Extract<ProductPlan, { program: 'matrix' }>),
            ...layout,
            continues,
            ...epilogue,
          };
          const code = wgslOf(matrixProgram({ ...variant, vector: !continues }));
          // No pipeline: the device lacks such matrices. test/unit/engine/matrixUnits.test.ts compares it with the limits of a device.
          const { messages } = await gpu.device.createShaderModule({ code }).getCompilationInfo();
          expect(messages.filter(({ type }) => type === 'error').map(({ message }) => message)).toEqual([]);
        }
      },
    );

    it('measures what they reach', async () => {
      expect(await matrixRate(gpu, gpu.matrixUnits.f16!, 0.01)).toBeGreaterThan(0);
    });
  });

  nightlyIt.each(layouts)(
    'tiles at edges, a transposed $transposeA, b transposed $transposeB',
    { timeout: 600_000 },
    async (layout) => {
      // Four elements at a time, one at a time, slices.
      await expectSameBits([{ program: 'rows' }, tile], layout, { m: 20, n: 28, k: 36 });
      await expectSameBits([{ program: 'rows' }, tile], layout, { m: 19, n: 27, k: 35 });
      await expectSameBits([{ program: 'rows' }, tile], layout, { m: 19, n: 27, k: 700 });
    },
  );

  nightlyIt.each(gpuPlans.map((plan) => ({ ...plan })))(
    'tile $rows × $columns × $depth',
    { timeout: 600_000 },
    async (plan) => {
      for (const layout of layouts) {
        await expectSameBits([{ program: 'rows' }, plan], layout, { m: 132, n: 136, k: 44 });
        await expectSameBits([{ program: 'rows' }, plan], layout, { m: 131, n: 129, k: 43 });
      }
    },
  );
});
