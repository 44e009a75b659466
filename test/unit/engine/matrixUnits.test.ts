/** Which matrix unit of a GPU products use, and that their programs stay within the limits that each device of WebGPU has. */
import { expect, it } from 'vitest';
import { matrixProgram } from '../../../src/engine/webgpu/kernels/productMatrix.ts';
import { matrixPlan } from '../../../src/engine/webgpu/kernels/productPlan.ts';
import { matrixUnitOf } from '../../../src/engine/webgpu/matrixUnits.ts';

const unitOf = (element: 'f16' | 'f32', lanes: number, ...sizes: readonly (readonly [number, number, number])[]) =>
  matrixUnitOf(
    {
      subgroupMinSize: lanes,
      subgroupMaxSize: lanes,
      subgroupMatrixConfigs: sizes.map(([M, N, K]) => ({
        componentType: element,
        resultComponentType: 'f32',
        M,
        N,
        K,
      })),
    },
    element,
  );

it.each([
  ['f32', 32, [8, 8, 8]],
  ['f32', 32, [16, 16, 16]],
  ['f16', 32, [8, 8, 8]],
  ['f16', 32, [16, 16, 16]],
  ['f16', 64, [16, 8, 32]],
] as const)('a program of %s matrices with %i lanes and %j fits every device', (element, lanes, size) => {
  const unit = unitOf(element, lanes, size)!;
  const plan = matrixPlan(unit);
  if (plan.program !== 'matrix') throw new Error('expected a plan for matrix units');
  const layout = { transposeA: false, transposeB: true, vectorA: true, vectorB: true, vector: true, continues: false };
  const { code } = matrixProgram({
    ...plan,
    ...layout,
    kind: 'assign',
    activation: 'none',
    bias: false,
    dropout: false,
  });
  const shared = [...code.matchAll(/var<workgroup> \w+: array<(f16|f32), (\d+)>/g)];
  expect(shared.length).toBeGreaterThan(2);
  const bytes = shared.reduce((sum, [, type, count]) => sum + (type === 'f16' ? 2 : 4) * Number(count), 0);
  expect(bytes).toBeLessThanOrEqual(16_384);
  expect(Number(/@workgroup_size\((\d+)\)/.exec(code)![1])).toBeLessThanOrEqual(256);
});

it('takes the largest unit that fits', () => {
  expect(unitOf('f16', 32, [8, 8, 8], [16, 16, 16], [32, 32, 8])).toMatchObject({ unitM: 16, unitN: 16, unitK: 16 });
  expect(unitOf('f32', 32, [32, 32, 8])).toBeUndefined();
  expect(unitOf('f16', 128, [16, 16, 16])).toBeUndefined();
});
