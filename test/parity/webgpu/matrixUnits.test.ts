/**
 * Training as on a GPU with matrix units, on whatever device has them: products by its matrix units, and all else in the programs of GPUs too, where a
 * software driver would get programs of its own. scripts/matrixUnits.sh runs it. Tiles of products are smaller than those of GPUs, which
 * webgpuProduct.test.ts runs: a software driver takes ten seconds to compile each.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { Commands } from '../../../src/engine/webgpu/commands.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { stepsOf } from '../model/trainingSteps.ts';
import { hasMatrixUnits } from '../webgpu.ts';

vi.mock('../../../src/engine/webgpu/softwareLanes.ts', () => ({ softwareLanes: () => 0 }));
vi.mock('../../../src/engine/webgpu/matrixUnits.ts', async (original) => ({
  ...(await original<typeof import('../../../src/engine/webgpu/matrixUnits.ts')>()),
  MATRIX_GROUP: 32,
  MATRIX_SUBGROUP: 16,
  matrixDepth: () => 16,
}));

describe.skipIf(!(await hasMatrixUnits()))('training with matrix units', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createWebgpuEngine();
  });
  afterAll(async () => engine?.dispose());

  it('ten steps in float16 have the losses of the native engine in float32, within the rounding', {
    timeout: 900_000,
  }, async () => {
    const native = createNativeEngine({ threads: 2 });
    const expected = await stepsOf(native, 10, 'float32', 1e-3);
    await native.dispose();
    const run = vi.spyOn(Commands.prototype, 'run');
    const results = await stepsOf(engine, 10, 'f16', 1e-3);
    const products = run.mock.calls.map(([{ name }]) => name).filter((name) => name.startsWith('product'));
    run.mockRestore();
    expect(products.length).toBeGreaterThan(0);
    expect([...new Set(products)].filter((name) => !name.includes('of f16 matrices'))).toEqual([]);
    for (const [step, { loss, gradNorm }] of results.entries()) {
      expect(Math.abs(loss / expected[step]!.loss - 1), `loss of step ${step + 1}`).toBeLessThan(1e-4);
      expect(Math.abs(gradNorm / expected[step]!.gradNorm - 1), `norm of step ${step + 1}`).toBeLessThan(2e-3);
    }
  });
});
