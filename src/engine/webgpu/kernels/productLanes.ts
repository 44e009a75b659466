/**
 * The matrix product for software drivers, in WGSL. Such a driver runs an invocation per lane of a vector register and reaches memory
 * lane by lane, so a workgroup is one subgroup, which holds many sums in registers and hands operands from lane to lane instead of
 * reading them twice. Every element is summed over k in ascending order.
 */
import { type Binding, memoizedByFields, program, type Scalar } from '../program.ts';
import { halfFunctions } from '../wgsl/halfFloat.ts';
import { type EpilogueVariant, epilogueText } from './epilogue.ts';

/** What a subgroup computes. */
export interface LanesTile {
  /** The size of a subgroup. */
  readonly lanes: number;
  /** Rows and columns per lane: a subgroup has `lanes` times as many of both. */
  readonly rowsPerLane: number;
  readonly columnsPerLane: number;
  /**
   * Terms that a turn of the loop adds to each sum. Such a driver masks each sum in each turn, and keeps those of a large tile in memory,
   * so several terms cost less than as many turns.
   */
  readonly terms: number;
}

/** All that the WGSL depends on. */
export interface LanesVariant extends LanesTile, EpilogueVariant {
  /** Whether operands are rounded to float16. */
  readonly half: boolean;
  /** Whether sums start with those of an earlier call instead of 0. */
  readonly continues: boolean;
}

/** Parameters of both operands: the distances of their elements, whichever way they are stored. */
const operandParams: Record<string, Scalar> = {
  k: 'u32',
  depth: 'u32',
  aFrom: 'u32',
  aRowStride: 'u32',
  aStride: 'u32',
  bFrom: 'u32',
  bColumnStride: 'u32',
  bStride: 'u32',
};

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Reads where the sums start. */
function startText(columnsPerLane: number, lanes: number): string {
  return `for (var i = 0u; i < count; i++) {
    let r = min(row + i / ${columnsPerLane}u, params.m - 1u);
    sums[i] = initial[r * params.n + min(column + i % ${columnsPerLane}u * ${lanes}u, params.n - 1u)];
  }`;
}

/** The program of one variant; the grid is [columns / (lanes · columnsPerLane), rows / (lanes · rowsPerLane), slices of k]. */
export const lanesProgram = memoizedByFields((variant: LanesVariant) => {
  const { lanes, rowsPerLane, columnsPerLane, terms, half, continues } = variant;
  const epilogue = epilogueText({ ...variant, vector: false });
  const [rows, columns] = [lanes * rowsPerLane, lanes * columnsPerLane];
  const [groups, laneColumns, ks] = [range(rowsPerLane), range(columnsPerLane), range(terms)];
  const rounded = (element: string) => (half ? `f32(half(${element}))` : element);
  const sums = range(rows).flatMap((r) => laneColumns.map((c) => `s${r}x${c}`));
  const lines = [
    ...groups.map(
      (g) => `let aAt${g} = params.aFrom + min(row + ${g * lanes}u + lane, params.m - 1u) * params.aRowStride;`,
    ),
    ...laneColumns.map(
      (c) => `let bAt${c} = params.bFrom + min(column + ${c * lanes}u, params.n - 1u) * params.bColumnStride;`,
    ),
    ...sums.map((name, i) => `var ${name} = ${continues ? `sums[${i}]` : '0.0'};`),
    `for (var k = kFrom; k < kEnd; k += ${terms}u) {`,
    ...ks.flatMap((t) => [
      ...groups.map((g) => `let a${g}k${t} = ${rounded(`a[aAt${g} + (k + ${t}u) * params.aStride]`)};`),
      ...laneColumns.map((c) => `let b${c}k${t} = ${rounded(`b[bAt${c} + (k + ${t}u) * params.bStride]`)};`),
    ]),
    ...range(rows).flatMap((r) => [
      ...ks.map((t) => `let r${r}k${t} = subgroupBroadcast(a${Math.floor(r / lanes)}k${t}, ${r % lanes}u);`),
      ...ks.flatMap((t) => laneColumns.map((c) => `s${r}x${c} = fma(r${r}k${t}, b${c}k${t}, s${r}x${c});`)),
    ]),
    '}',
  ];
  const bindings: Record<string, Binding> = {
    ...epilogue.bindings,
    a: 'read f32',
    b: 'read f32',
    ...(continues && { initial: 'read f32' }),
  };
  return program({
    name: `product ${rows}×${columns} in lanes${half ? ' of float16' : ''}`,
    bindings,
    params: { ...operandParams, ...epilogue.params },
    enables: half ? ['subgroups', 'f16'] : ['subgroups'],
    code: `${epilogue.code}${half ? halfFunctions : ''}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let kFrom = group.z * params.depth;
  let kEnd = min(params.k, kFrom + params.depth);
  let row = group.y * ${rows}u;
  let column = group.x * ${columns}u + lane;
  // Sums start and end in a loop, because a software driver takes long to compile an access to memory. It would unroll one of a
  // constant length.
  let count = ${sums.length}u * min(params.m, 1u);
  var sums: array<f32, ${sums.length}>;
  ${continues ? startText(columnsPerLane, lanes) : ''}
  ${lines.join('\n  ')}
  sums = array<f32, ${sums.length}>(${sums.join(', ')});
  for (var i = 0u; i < count; i++) {
    let r = row + i / ${columnsPerLane}u;
    let c = column + i % ${columnsPerLane}u * ${lanes}u;
    if (r < params.m && c < params.n) { finish(r + group.z * params.m, c, sums[i]); }
  }
}`,
  });
});
