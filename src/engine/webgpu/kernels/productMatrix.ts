/**
 * The matrix product by subgroup matrices, in WGSL: a subgroup multiplies small matrices with the matrix units of its GPU. The invocations of a
 * workgroup bring slices of both operands into shared memory, as for a tile. Every element is summed over the small matrices in ascending
 * order of k; the order within one is the GPU's. WGSL's extension is experimental: its names may change with Dawn.
 */
import type { MatrixUnit } from '../matrixUnits.ts';
import { type Binding, memoizedByFields, program } from '../program.ts';
import { halfFunctions } from '../wgsl/halfFloat.ts';
import { type EpilogueVariant, epilogueText } from './epilogue.ts';
import { fillText, loadText, operandParams } from './productTile.ts';

/** The sizes of a workgroup and of what each of its subgroups sums; multiples of the unit's. */
export interface MatrixTile extends MatrixUnit {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly subgroupRows: number;
  readonly subgroupColumns: number;
}

/** All that the WGSL depends on. */
export interface MatrixVariant extends MatrixTile, EpilogueVariant {
  /** As for tiles (productTile.ts). */
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly vectorA: boolean;
  readonly vectorB: boolean;
  readonly continues: boolean;
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** The program of one variant; the grid is [columns / tile.columns, rows / tile.rows, slices of k]. */
export const matrixProgram = memoizedByFields((variant: MatrixVariant) => {
  const { element, unitM, unitN, unitK, lanes, rows, columns, depth, subgroupRows, subgroupColumns } = variant;
  const { transposeA, transposeB, vector, continues } = variant;
  const epilogue = epilogueText(variant);
  const across = columns / subgroupColumns;
  const subgroups = (rows / subgroupRows) * across;
  const threads = subgroups * lanes;
  const [down, wide] = [range(subgroupRows / unitM), range(subgroupColumns / unitN)];
  const sums = down.flatMap((i) => wide.map((j) => ({ i, j, name: `s${i}x${j}` })));
  const store = (tile: string) => (index: string, value: string) =>
    `{ let v4 = ${element === 'f16' ? `half4(${value})` : value}; let at = 4u * (${index});
        ${range(4)
          .map((i) => `${tile}[at + ${i}u] = v4[${i}];`)
          .join(' ')} }`;
  const place = ({ i, j }: { i: number; j: number }) => `row + ${i * unitM}u, column + ${j * unitN}u`;
  const bindings: Record<string, Binding> = {
    ...epilogue.bindings,
    a: variant.vectorA ? 'read vec4f' : 'read f32',
    b: variant.vectorB ? 'read vec4f' : 'read f32',
    ...(continues && { initial: 'read f32' }),
  };
  const size = unitM * unitN;
  const step = vector ? 4 : 1;
  // Each subgroup has its part of `results`, where a small matrix is taken apart.
  const take = `
fn take(row: u32, column: u32, rowOffset: u32, place: u32, lane: u32) {
  for (var e = ${step}u * lane; e < ${size}u; e += ${step * lanes}u) {
    let r = row + e / ${unitN}u;
    let c = column + e % ${unitN}u;
    if (r < params.m && c < params.n) {
      finish(r + rowOffset, c, ${vector ? `vec4f(${range(4).map((q) => `results[place + e + ${q}u]`)})` : 'results[place + e]'});
    }
  }
}`;
  const give = `
fn give(row: u32, column: u32, place: u32, lane: u32) {
  for (var e = lane; e < ${size}u; e += ${lanes}u) {
    let r = min(row + e / ${unitN}u, params.m - 1u);
    results[place + e] = initial[r * params.n + min(column + e % ${unitN}u, params.n - 1u)];
  }
}`;
  return program({
    name: `product ${rows}×${columns}×${depth} of ${element} matrices ${unitM}×${unitN}×${unitK}`,
    bindings,
    params: { ...operandParams, ...epilogue.params },
    enables: ['subgroups', 'chromium_experimental_subgroup_matrix', ...(element === 'f16' ? ['f16'] : [])],
    code: `${epilogue.code}${element === 'f16' ? halfFunctions : ''}
${loadText('a', 'm', !transposeA, variant.vectorA)}
${loadText('b', 'n', transposeB, variant.vectorB)}
var<workgroup> aTile: array<${element}, ${depth * rows}>;
var<workgroup> bTile: array<${element}, ${depth * columns}>;
var<workgroup> results: array<f32, ${subgroups * size}>;
${take}
${continues ? give : ''}

@compute @workgroup_size(${threads})
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32,
) {
  let kFrom = group.z * params.depth;
  let kEnd = min(params.k, kFrom + params.depth);
  let rowInside = subgroup / ${across}u * ${subgroupRows}u;
  let columnInside = subgroup % ${across}u * ${subgroupColumns}u;
  let row = group.y * ${rows}u + rowInside;
  let column = group.x * ${columns}u + columnInside;
  let part = subgroup * ${size}u;
  ${sums.map(({ name }) => `var ${name}: subgroup_matrix_result<f32, ${unitN}, ${unitM}>;`).join('\n  ')}
  ${
    continues
      ? sums
          .map(
            (sum) => `give(${place(sum)}, part, lane);
  workgroupBarrier();
  ${sum.name} = subgroupMatrixLoad<subgroup_matrix_result<f32, ${unitN}, ${unitM}>, row_major>(&results, part, ${unitN}u);
  workgroupBarrier();`,
          )
          .join('\n  ')
      : ''
  }
  for (var k = kFrom; k < kEnd; k += ${depth}u) {
${fillText('a', `group.y * ${rows}u`, rows, depth, threads, !transposeA, store('aTile'))}
${fillText('b', `group.x * ${columns}u`, columns, depth, threads, transposeB, store('bTile'))}
    workgroupBarrier();
    for (var inner = 0u; inner < ${depth}u; inner += ${unitK}u) {
      ${down
        .map(
          (i) =>
            `let a${i} = subgroupMatrixLoad<subgroup_matrix_left<${element}, ${unitK}, ${unitM}>, col_major>(&aTile, inner * ${rows}u + rowInside + ${i * unitM}u, ${rows}u);`,
        )
        .join('\n      ')}
      ${wide
        .map(
          (j) =>
            `let b${j} = subgroupMatrixLoad<subgroup_matrix_right<${element}, ${unitN}, ${unitK}>, row_major>(&bTile, inner * ${columns}u + columnInside + ${j * unitN}u, ${columns}u);`,
        )
        .join('\n      ')}
      ${sums.map(({ i, j, name }) => `${name} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, ${name});`).join('\n      ')}
    }
    workgroupBarrier();
  }
  ${sums
    .map(
      (sum) => `subgroupMatrixStore<row_major>(&results, part, ${sum.name}, ${unitN}u);
  workgroupBarrier();
  take(${place(sum)}, group.z * params.m, part, lane);
  workgroupBarrier();`,
    )
    .join('\n  ')}
}`,
  });
});
