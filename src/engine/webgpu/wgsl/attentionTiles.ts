/**
 * The two products of the attention programs, in WGSL. A workgroup has ROWS rows of one side of a head (queries or keys) and meets the
 * other side tile by tile, COLUMNS rows at a time. Invocation (y, x) of 8 by 8 has 8 rows by 4 columns of the products of all pairs,
 * and 8 rows by an eighth of the channels of the sums over the columns. Rows are vec4f, with 0 beyond the head size.
 */
import type { Element } from '../program.ts';

/** Rows of a workgroup. */
export const ROWS = 64;
/** Rows of the other side in a tile. */
export const COLUMNS = 32;
/** Invocations of a workgroup. */
export const INVOCATIONS = 64;
/** Vectors of channels of both sides that are in workgroup memory at one time: their products take 4 · (16 + 8) vectors each. */
const SLICE = 4;
/** Columns of an invocation. */
const OWN = 4;
/** Workgroup memory of operands: what a slice takes. With the weights it stays below the 16 KiB of any device. */
const OPERAND_VECTORS = SLICE * (ROWS + COLUMNS);

/** Number of vec4f that hold a row of a head. */
function rowVectors(headSize: number): number {
  return Math.ceil(headSize / 4);
}

/** Vectors of channels of an invocation: `x`, `x` + 8, ... */
function ownVectors(headSize: number): number {
  return Math.ceil(rowVectors(headSize) / 8);
}

/** How tensors of rows are bound: as vec4f where every row begins with one. */
export function rowElement(headSize: number): Extract<Element, 'f32' | 'vec4f'> {
  return headSize % 4 === 0 ? 'vec4f' : 'f32';
}

/** 1 / sqrt(HS) as a constant. */
export function scoreScale(headSize: number): string {
  return `f32(${Math.fround(1 / Math.sqrt(headSize))})`;
}

/** A line for each number below `count`. */
export function forEach(count: number, line: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => line(i)).join('\n');
}

/** A line for each vector of products of an invocation: column 4x + j, rows 8y + 4h to 8y + 4h + 3. */
export function forProducts(line: (id: string, j: number, h: number) => string): string {
  return forEach(OWN, (j) => forEach(2, (h) => line(`${j}${h}`, j, h)));
}

/** The least score: what a compiler may not take for -infinity, which it may assume never to occur. */
export const scoreMin = 'f32(-3.0e38)';

/** What was rounded stays rounded: no compiler sees that this is x, to fuse or reorder what is around it. */
export const rounded = `
fn rounded(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ params.zero); }
fn rounded4(x: vec4f) -> vec4f { return bitcast<vec4f>(bitcast<vec4u>(x) ^ vec4u(params.zero)); }`;

/** `load_NAME(row, x)`: vector x of the row that begins at element `row` of a binding. */
function loadFunction(headSize: number, name: string): string {
  if (headSize % 4 === 0) return `fn load_${name}(row: u32, x: u32) -> vec4f { return ${name}[(row >> 2u) + x]; }`;
  const lane = (i: number) => `select(0.0, ${name}[row + 4u * x + ${i}u], 4u * x + ${i}u < ${headSize}u)`;
  return `fn load_${name}(row: u32, x: u32) -> vec4f {
  return vec4f(${[0, 1, 2, 3].map(lane).join(', ')});
}`;
}

/** Workgroup memory and functions for bindings of rows. */
export function tileFunctions(headSize: number, bindings: readonly string[]): string {
  return `
var<workgroup> operands: array<vec4f, ${OPERAND_VECTORS}>;
/** The weight of row r for column m is in vector r / 4 of m. */
var<workgroup> weights: array<vec4f, ${(COLUMNS * ROWS) / 4}>;
${bindings.map((name) => loadFunction(headSize, name)).join('\n')}`;
}

/** The entry point, up to where it is which invocation of which workgroup; `head` is the name of the number of its head. */
export const tileMain = (head = 'head'): string => `
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let x = local % 8u;
  let y = local / 8u;
  let ${head} = group.y;
  let sample = group.z;`;

/** Rows in WGSL: where row `r` of a head begins in a binding. `limit` is the number of rows there are. */
export interface Rows {
  readonly binding: string;
  /** Element of row 0, as an expression. */
  readonly start: string;
  /** Elements from a row to the next. */
  readonly stride: string;
  /** The first of the tile. */
  readonly first: string;
  readonly limit: string;
  /** Its numbers are multiplied by this. */
  readonly scale?: string;
}

function loadRow({ binding, start, stride, first, limit, scale }: Rows, row: string, x: string): string {
  const value = `load_${binding}(${start} + min(${first} + ${row}, ${limit} - 1u) * ${stride}, ${x})`;
  return scale === undefined ? value : `${value} * ${scale}`;
}

/** Four rows of a slice, as rows of channels. */
function loadTransposed(rows: Rows, count: number, offset: number): string {
  return `
      if (local < ${count}u && c0 + local % ${SLICE}u < vectors) {
        ${forEach(4, (i) => `let r${i} = ${loadRow(rows, `local / ${SLICE}u * 4u + ${i}u`, `c0 + local % ${SLICE}u`)};`)}
        let to = ${offset}u + local % ${SLICE}u * ${count}u + local / ${SLICE}u;
        ${forEach(4, (i) => `operands[to + ${(i * count) / 4}u] = vec4f(r0.${'xyzw'[i]}, r1.${'xyzw'[i]}, r2.${'xyzw'[i]}, r3.${'xyzw'[i]});`)}
      }`;
}

/**
 * Declares NAMEjh (`forProducts`) = row · column, for invocations where `isSeen`. Channels are added one after another: the passes that
 * compute scores get the same bits, whichever side has the rows.
 */
export function products(headSize: number, name: string, rows: Rows, columns: Rows, isSeen: string): string {
  return `
  ${forProducts((id) => `var ${name}${id} = vec4f();`)}
  {
    const vectors = ${rowVectors(headSize)}u;
    for (var c0 = 0u; c0 < vectors; c0 += ${SLICE}u) {
      workgroupBarrier();
      ${loadTransposed(rows, ROWS, 0)}
      ${loadTransposed(columns, COLUMNS, SLICE * ROWS)}
      workgroupBarrier();
      let channels = select(0u, 4u * min(${SLICE}u, vectors - c0), ${isSeen});
      for (var c = 0u; c < channels; c++) {
        let a0 = operands[c * ${ROWS / 4}u + 2u * y];
        let a1 = operands[c * ${ROWS / 4}u + 2u * y + 1u];
        let b = operands[${SLICE * ROWS}u + c * ${COLUMNS / 4}u + x];
        ${forProducts((id, j, h) => `${name}${id} = fma(a${h}, vec4f(b.${'xyzw'[j]}), ${name}${id});`)}
      }
    }
  }`;
}

/** Stores a vector for each of `forProducts` as weights; `addWeighted` waits for all. */
export function storeWeights(name: string): string {
  return forProducts((id, j, h) => `weights[(4u * x + ${j}u) * ${ROWS / 4}u + 2u * y + ${h}u] = ${name}${id};`);
}

/** Declares the sums of `addWeighted`. */
export function declareSums(headSize: number, name: string): string {
  return forSums(headSize, (r, u) => `var ${name}${r}_${u} = vec4f();`);
}

/** A line for each vector of sums of an invocation: row 8y + r, channels from 4 (x + 8u) on. */
export function forSums(headSize: number, line: (r: number, u: number) => string): string {
  return forEach(8, (r) => forEach(ownVectors(headSize), (u) => line(r, u)));
}

/** Adds to the sums of each row its weights times the columns, for columns [begin, end) of the tile, one after another. */
export function addWeighted(headSize: number, name: string, columns: Rows, begin: string, end: string): string {
  const vectors = rowVectors(headSize);
  const part = Math.min(COLUMNS, Math.floor(OPERAND_VECTORS / vectors));
  return `
  for (var m0 = 0u; m0 < ${COLUMNS}u; m0 += ${part}u) {
    workgroupBarrier();
    for (var n = local; n < ${part * vectors}u; n += ${INVOCATIONS}u) {
      operands[n] = ${loadRow(columns, `m0 + n / ${vectors}u`, `n % ${vectors}u`)};
    }
    workgroupBarrier();
    let last = min(min(m0 + ${part}u, ${COLUMNS}u), ${end});
    for (var m = max(m0, ${begin}); m < last; m++) {
      let a0 = weights[m * ${ROWS / 4}u + 2u * y];
      let a1 = weights[m * ${ROWS / 4}u + 2u * y + 1u];
      ${forEach(ownVectors(headSize), (u) => `let b${u} = operands[(m - m0) * ${vectors}u + ${own(headSize, u)}];`)}
      ${forSums(headSize, (r, u) => `${name}${r}_${u} = fma(vec4f(a${r >> 2}.${'xyzw'[r % 4]}), b${u}, ${name}${r}_${u});`)}
    }
  }`;
}

/** The vector of channels that is number u of an invocation's own; where there is none, any. */
function own(headSize: number, u: number): string {
  const vectors = rowVectors(headSize);
  return 8 * u + 8 <= vectors ? `${8 * u}u + x` : `min(${8 * u}u + x, ${vectors - 1}u)`;
}

/** Declares `mean`, the product of row `local` of both bindings. */
export function sumProducts(headSize: number, a: Rows, b: Rows): string {
  return `
  var terms = vec4f();
  for (var v = 0u; v < ${rowVectors(headSize)}u; v++) {
    terms = fma(${loadRow(a, 'local', 'v')}, ${loadRow(b, 'local', 'v')}, terms);
  }
  let mean = (terms.x + terms.y) + (terms.z + terms.w);`;
}

/** Stores the sums, times an expression, as the rows of a binding that are below its limit. */
export function storeSums(headSize: number, name: string, rows: Rows, factor: (r: number) => string): string {
  const vectors = rowVectors(headSize);
  const store = (r: number, u: number) => {
    const value = `${name}${r}_${u} * ${factor(r)}`;
    const first = `(${8 * u}u + x)`;
    if (headSize % 4 === 0) return `if (${first} < ${vectors}u) { ${rows.binding}[(at >> 2u) + ${first}] = ${value}; }`;
    const lanes = ['x', 'y', 'z', 'w'].map(
      (lane, i) =>
        `if (4u * ${first} + ${i}u < ${headSize}u) { ${rows.binding}[at + 4u * ${first} + ${i}u] = v.${lane}; }`,
    );
    return `{ let v = ${value}; ${lanes.join(' ')} }`;
  };
  return forEach(
    8,
    (r) => `
  if (${rows.first} + 8u * y + ${r}u < ${rows.limit}) {
    let at = ${rows.start} + (${rows.first} + 8u * y + ${r}u) * ${rows.stride};
    ${forEach(ownVectors(headSize), (u) => store(r, u))}
  }`,
  );
}

/** The sample's key, and the elements of the dropout's mask at which the invocation's rows begin. */
export const droppedElements = `
  let dropped = dropoutKey(sample);
  let elements0 = (head * params.time + rows0) * params.keyTime;
  let elements1 = (head * params.time + rows1) * params.keyTime;`;
