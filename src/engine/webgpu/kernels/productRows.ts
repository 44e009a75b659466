/**
 * The matrix product for few rows, as in generation, in WGSL: it takes as long as the second operand takes to be read, so each of its
 * elements is read once for all rows of a workgroup. The slices of a sum are summed side by side and added in their order, as the other
 * programs and `addSlices` do it; the rows are summed apart.
 */
import { type Binding, memoizedByFields, program } from '../program.ts';
import { halfFunctions } from '../wgsl/halfFloat.ts';
import { type EpilogueVariant, epilogueText } from './epilogue.ts';
import { operandParams } from './productTile.ts';

/** Rows and columns of a workgroup. */
export const FEW_ROWS = 4;
export const FEW_COLUMNS = 32;
/** The most slices of a sum. */
export const FEW_SLICES = 8;

/** All that the WGSL depends on. */
export interface RowsVariant extends EpilogueVariant {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Whether operands are rounded to float16. */
  readonly half: boolean;
  /** Whether sums start with those of an earlier call instead of 0. */
  readonly continues: boolean;
}

const rows = Array.from({ length: FEW_ROWS }, (_, i) => i);

/** The program of one variant; the grid is [columns / FEW_COLUMNS, rows / FEW_ROWS]. */
export const rowsProgram = memoizedByFields((variant: RowsVariant) => {
  const { transposeA, transposeB, half, continues } = variant;
  const rounded = (element: string) => (half ? `f32(half(${element}))` : element);
  const epilogue = epilogueText(variant);
  const bindings: Record<string, Binding> = {
    ...epilogue.bindings,
    a: 'read f32',
    b: 'read f32',
    ...(continues && { initial: 'read f32' }),
  };
  const start = (r: number) => (continues ? `initial[row${r} * params.n + column]` : '0.0');
  const indexOfA = (row: string) =>
    transposeA ? `params.aFrom + k * params.aStride + ${row}` : `params.aFrom + ${row} * params.aStride + k`;
  const indexOfB = transposeB
    ? 'params.bFrom + column * params.bStride + k'
    : 'params.bFrom + k * params.bStride + column';
  return program({
    name: `product of few rows${half ? ' of float16' : ''}`,
    bindings,
    params: { ...operandParams, ...epilogue.params },
    ...(half && { enables: ['f16'] }),
    code: `${epilogue.code}${half ? halfFunctions : ''}
var<workgroup> slices: array<array<f32, ${FEW_ROWS * FEW_COLUMNS}>, ${FEW_SLICES}>;

@compute @workgroup_size(${FEW_COLUMNS}, ${FEW_SLICES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = group.y * ${FEW_ROWS}u;
  let column = min(group.x * ${FEW_COLUMNS}u + local.x, params.n - 1u);
  ${rows.map((r) => `let row${r} = min(row + ${r}u, params.m - 1u); var s${r} = ${start(r)};`).join('\n  ')}
  let kEnd = min(params.k, (local.y + 1u) * params.depth);
  for (var k = local.y * params.depth; k < kEnd; k++) {
    let y = ${rounded(`b[${indexOfB}]`)};
    ${rows.map((r) => `s${r} = fma(${rounded(`a[${indexOfA(`row${r}`)}]`)}, y, s${r});`).join('\n    ')}
  }
  ${rows.map((r) => `slices[local.y][${r * FEW_COLUMNS}u + local.x] = s${r};`).join('\n  ')}
  workgroupBarrier();
  let count = (params.k + params.depth - 1u) / params.depth;
  // The first slices of invocations take a row each.
  let r = local.y;
  if (r < ${FEW_ROWS}u && row + r < params.m && group.x * ${FEW_COLUMNS}u + local.x < params.n) {
    var sum = slices[0][r * ${FEW_COLUMNS}u + local.x];
    for (var slice = 1u; slice < count; slice++) { sum += slices[slice][r * ${FEW_COLUMNS}u + local.x]; }
    finish(row + r, column, sum);
  }
}`,
  });
});
