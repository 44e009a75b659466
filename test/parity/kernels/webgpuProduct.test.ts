/** The programs that GPUs get for products, on whatever device there is: each element is summed in one order, so the bits are the same. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Gpu } from '../../../src/engine/webgpu/gpu.ts';
import { product } from '../../../src/engine/webgpu/kernels/product.ts';
import { gpuPlans, type ProductPlan } from '../../../src/engine/webgpu/kernels/productPlan.ts';
import type { GpuTensor } from '../../../src/engine/webgpu/memory.ts';
import { openGpu } from '../../../src/engine/webgpu/openDevice.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { nightlyIt } from '../../nightly.ts';
import { whyUnavailable } from '../webgpu.ts';
import { relativeError, seededValues } from './harness.ts';

const unavailable = await whyUnavailable(createWebgpuEngine);
if (unavailable !== undefined) process.stdout.write(`webgpu: programs of products not run: ${unavailable}\n`);

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
  }

  /** What a plan computes, and what it is in float64. */
  async function results(plans: readonly ProductPlan[], { transposeA, transposeB }: Layout, shape: Shape) {
    const { m, n, k } = shape;
    const [a, b] = [seededValues(1, m * k), seededValues(2, k * n)];
    const [bias, before] = [seededValues(3, n), seededValues(4, m * n)];
    const [boundA, boundB, boundBias] = [put(a), put(b), put(bias)];
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
