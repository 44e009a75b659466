/** WGSL of programs in which some invocations, `lanes`, share a row: a workgroup has several rows, or one. */
import { flatGrid } from '../program.ts';

/** Invocations of a row. Few where rows are short: more rows are read at a time, and fewer values are combined. */
export type Lanes = 8 | 32 | 256;

export function lanesOf(columns: number): Lanes {
  if (columns <= 512) return 8;
  return columns <= 4096 ? 32 : 256;
}

/** Invocations of a workgroup. */
function groupOf(lanes: Lanes): number {
  return Math.max(64, lanes);
}

/**
 * A function `name(x: f32, lane: u32, local: u32) -> f32` that combines the values of a row's lanes; all invocations call it. The order
 * depends on the number of lanes alone. `combine(a, b)` gives the WGSL expression. 256 lanes are combined 16 by 16.
 */
function acrossLanes(name: string, lanes: Lanes, combine: (a: string, b: string) => string): string {
  // `unit` is 1, but no compiler knows: software drivers take seconds to compile unrolled loops.
  const combined = (count: number, values: string, from: string): string => `
    var all = ${values}[${from}];
    for (var i = 1u; i < ${count}u * unit; i++) { all = ${combine('all', `${values}[${from} + i]`)}; }`;
  const first = `
  if (lane < 16u) {${combined(16, 'laneValues', '16u * lane')}
    rowValues[lane] = all;
  }
  workgroupBarrier();`;
  return `
fn ${name}(x: f32, lane: u32, local: u32) -> f32 {
  let unit = min(params.rows, 1u);
  workgroupBarrier();
  laneValues[local] = x;
  workgroupBarrier();${lanes === 256 ? first + combined(16, 'rowValues', '0') : combined(lanes, 'laneValues', 'local - lane')}
  return all;
}`;
}

/** `sumOfLanes` and `mostOfLanes`. */
export function laneFunctions(lanes: Lanes): string {
  return `
var<workgroup> laneValues: array<f32, ${groupOf(lanes)}>;
${lanes === 256 ? 'var<workgroup> rowValues: array<f32, 16>;' : ''}
${acrossLanes('sumOfLanes', lanes, (a, b) => `${a} + ${b}`)}
${acrossLanes('mostOfLanes', lanes, (a, b) => `max(${a}, ${b})`)}`;
}

/**
 * The start of a `main` for `params.rows` rows: `lane`, `local`, `row`, and `isRow`, false in invocations past the last row, which may not
 * return before the others because they meet at barriers.
 */
export function rowMain(lanes: Lanes, body: string): string {
  const size = groupOf(lanes);
  return `
@compute @workgroup_size(${size})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = local % ${lanes}u;
  let row = (group.y * groups.x + group.x) * ${size / lanes}u + local / ${lanes}u;
  let isRow = row < params.rows;
${body}
}`;
}

/** The workgroups that cover `rows` rows of `rowMain`. */
export function rowGroups(rows: number, lanes: Lanes): readonly [number, number] {
  return flatGrid(Math.ceil((rows * lanes) / groupOf(lanes)));
}
