/** The most that the matrix units of a GPU reach: independent sums of small matrices that never leave their registers. */
import type { Gpu } from '../gpu.ts';
import type { MatrixUnit } from '../matrixUnits.ts';
import { memoizedByFields, program } from '../program.ts';
import { bestRate } from './fmaLimit.ts';

/** Sums of a subgroup, and subgroups of a workgroup; workgroups that fill a large GPU. */
const [SUMS, SUBGROUPS, GROUPS] = [8, 4, 2048];
const sums = Array.from({ length: SUMS }, (_, i) => `s${i}`);

const matrixLimit = memoizedByFields(({ element, unitM, unitN, unitK, lanes }: MatrixUnit) => {
  const [left, right] = [
    `subgroup_matrix_left<${element}, ${unitK}, ${unitM}>`,
    `subgroup_matrix_right<${element}, ${unitN}, ${unitK}>`,
  ];
  return program({
    name: `multiply-adds of ${element} matrices`,
    bindings: { data: 'read_write f32' },
    params: { rounds: 'u32' },
    enables: ['subgroups', 'chromium_experimental_subgroup_matrix', ...(element === 'f16' ? ['f16'] : [])],
    code: `
var<workgroup> ones: array<${element}, ${Math.max(unitM, unitN) * unitK}>;
var<workgroup> results: array<f32, ${unitM * unitN}>;
@compute @workgroup_size(${SUBGROUPS * lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32, @builtin(subgroup_id) subgroup: u32) {
  for (var i = local; i < ${Math.max(unitM, unitN) * unitK}u; i += ${SUBGROUPS * lanes}u) { ones[i] = ${element}(data[0]); }
  workgroupBarrier();
  let a = subgroupMatrixLoad<${left}, row_major>(&ones, 0u, ${unitK}u);
  let b = subgroupMatrixLoad<${right}, row_major>(&ones, 0u, ${unitN}u);
  ${sums.map((sum) => `var ${sum}: subgroup_matrix_result<f32, ${unitN}, ${unitM}>;`).join(' ')}
  for (var round = 0u; round < params.rounds; round++) {
    ${sums.map((sum) => `${sum} = subgroupMatrixMultiplyAccumulate(a, b, ${sum});`).join(' ')}
  }
  ${sums
    .map(
      (sum) => `if (subgroup == 0u) { subgroupMatrixStore<row_major>(&results, 0u, ${sum}, ${unitN}u); }
  workgroupBarrier();
  if (local == 0u) { data[group.x] += results[0]; }
  workgroupBarrier();`,
    )
    .join('\n  ')}
}`,
  });
});

/** Floating-point operations a second, the best of some runs that take about `seconds` together. */
export function matrixRate(gpu: Gpu, unit: MatrixUnit, seconds: number): Promise<number> {
  const flops = 2 * unit.unitM * unit.unitN * unit.unitK * SUMS * SUBGROUPS * GROUPS;
  const call = { program: matrixLimit(unit), size: GROUPS, groups: GROUPS };
  return bestRate(gpu, call, flops, seconds);
}
