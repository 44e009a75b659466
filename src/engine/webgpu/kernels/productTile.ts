/**
 * The matrix product of a tile of rows and columns, in WGSL. The invocations of a workgroup bring slices of both operands into shared
 * memory, four by four elements at a time, and each sums its own rows and columns in registers. Every element is summed over k in
 * ascending order, with every tile.
 */
import { type Binding, memoizedByFields, program, type Scalar } from '../program.ts';
import { halfFunctions } from '../wgsl/halfFloat.ts';
import { type EpilogueVariant, epilogueText } from './epilogue.ts';

/** The sizes of a tile; all are multiples of 4. */
export interface Tile {
  /** Rows, columns and depth of what a workgroup holds. */
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** Rows and columns of one invocation. */
  readonly threadRows: number;
  readonly threadColumns: number;
}

/** All that the WGSL depends on. */
export interface TileVariant extends Tile, EpilogueVariant {
  /** Whether a is stored [k, m], b [n, k]. */
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Whether operands are rounded to float16, in which shared memory holds them. */
  readonly half: boolean;
  /** Whether four elements of a row are read at once. */
  readonly vectorA: boolean;
  readonly vectorB: boolean;
  /** Whether sums start with those of an earlier call instead of 0. */
  readonly continues: boolean;
}

/** Parameters of both operands. */
export const operandParams: Record<string, Scalar> = {
  k: 'u32',
  /** What one z of the grid sums. */
  depth: 'u32',
  aFrom: 'u32',
  aStride: 'u32',
  bFrom: 'u32',
  bStride: 'u32',
};

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const components = ['x', 'y', 'z', 'w'] as const;

/** `load_NAME(x, k, kEnd)`: elements x to x + 3 of `extent` at k to k + 3, 0 outside. */
export function loadText(name: string, extent: string, contiguousK: boolean, vector: boolean): string {
  const from = `params.${name}From`;
  const stride = `params.${name}Stride`;
  const [outer, outerEnd, inner, innerEnd] = contiguousK
    ? ['x', `params.${extent}`, 'k', 'kEnd']
    : ['k', 'kEnd', 'x', `params.${extent}`];
  const rows = range(4).map((i) => {
    const at = `${from} + (${outer} + ${i}u) * ${stride} + ${inner}`;
    if (vector)
      return `  if (${outer} + ${i}u < ${outerEnd} && ${inner} < ${innerEnd}) { v${i} = ${name}[(${at}) / 4u]; }`;
    const elements = components.map(
      (component, j) => `if (${inner} + ${j}u < ${innerEnd}) { v${i}.${component} = ${name}[at + ${j}u]; }`,
    );
    return `  if (${outer} + ${i}u < ${outerEnd}) { let at = ${at}; ${elements.join(' ')} }`;
  });
  // What lies after the last k would be multiplied with the other operand's 0, and may be no number.
  const masked =
    vector && contiguousK
      ? `  if (k + 4u > kEnd) { let within = vec4u(k, k + 1u, k + 2u, k + 3u) < vec4u(kEnd);
    ${range(4)
      .map((i) => `v${i} = select(vec4f(), v${i}, within);`)
      .join(' ')} }\n`
      : '';
  const result = contiguousK
    ? components
        .map(
          (component) =>
            `vec4f(${range(4)
              .map((i) => `v${i}.${component}`)
              .join(', ')})`,
        )
        .join(', ')
    : 'v0, v1, v2, v3';
  return `
fn load_${name}(x: u32, k: u32, kEnd: u32) -> array<vec4f, 4> {
  var v0: vec4f; var v1: vec4f; var v2: vec4f; var v3: vec4f;
${rows.join('\n')}
${masked}  return array<vec4f, 4>(${result});
}`;
}

/** All invocations bring `extent` × `depth` elements into shared memory: `store` puts four elements of one k there, at the index of a vector. */
export function fillText(
  name: string,
  first: string,
  extent: number,
  depth: number,
  threads: number,
  contiguousK: boolean,
  store: (index: string, value: string) => string,
): string {
  const [wide, deep] = [extent / 4, depth / 4];
  const [x, k] = contiguousK ? [`block / ${deep}u`, `block % ${deep}u`] : [`block % ${wide}u`, `block / ${wide}u`];
  const body = `let bx = ${x}; let bk = ${k};
      let v = load_${name}(${first} + 4u * bx, k + 4u * bk, kEnd);
      let to = 4u * bk * ${wide}u + bx;
      ${range(4)
        .map((i) => store(`to + ${i * wide}u`, `v[${i}]`))
        .join(' ')}`;
  const blocks = wide * deep;
  return range(Math.ceil(blocks / threads))
    .map((i) => {
      const isPart = (i + 1) * threads > blocks;
      return `    ${isPart ? `if (local + ${i * threads}u < ${blocks}u) ` : ''}{ let block = local + ${i * threads}u;
      ${body} }`;
    })
    .join('\n');
}

/** The program of one variant; the grid is [columns / tile.columns, rows / tile.rows, slices of k]. */
export const tileProgram = memoizedByFields((variant: TileVariant) => {
  const { rows, columns, depth, threadRows, threadColumns, transposeA, transposeB, half, vector, continues } = variant;
  const tileElement = half ? 'vec4<f16>' : 'vec4f';
  const store = (tile: string) => (index: string, value: string) =>
    `${tile}[${index}] = ${half ? `half4(${value})` : value};`;
  const epilogue = epilogueText(variant);
  const [across, down] = [columns / threadColumns, rows / threadRows];
  const threads = across * down;
  const [rowGroups, columnGroups] = [range(threadRows / 4), range(threadColumns / 4)];
  const sums = rowGroups.flatMap((i) =>
    range(4).flatMap((r) => columnGroups.map((j) => ({ i, r, j, name: `s${i}${r}${j}` }))),
  );
  const places = `let part = i / ${columnGroups.length}u;
    let r = row + part / 4u * ${4 * down}u + part % 4u;
    let c = column + i % ${columnGroups.length}u * ${4 * across}u;`;
  const start = `
  var sums: array<vec4f, ${sums.length}>;
  ${
    continues
      ? `for (var i = 0u; i < ${sums.length}u; i++) {
    ${places}
    for (var q = 0u; q < 4u; q++) { sums[i][q] = initial[min(r, params.m - 1u) * params.n + min(c + q, params.n - 1u)]; }
  }`
      : ''
  }
  ${sums.map(({ name }, i) => `var ${name} = ${continues ? `sums[${i}]` : 'vec4f()'};`).join(' ')}`;
  const element = vector
    ? 'if (c < params.n) { finish(r + group.z * params.m, c, sum); }'
    : 'for (var q = 0u; q < min(4u, params.n - min(c, params.n)); q++) { finish(r + group.z * params.m, c + q, sum[q]); }';
  // A loop instead of a copy for each sum, which would make the program long.
  const stores = `
  sums = array<vec4f, ${sums.length}>(${sums.map(({ name }) => name).join(', ')});
  for (var i = 0u; i < ${sums.length}u; i++) {
    ${places}
    var sum = sums[i];
    if (r < params.m) { ${element} }
  }`;
  const bindings: Record<string, Binding> = {
    ...epilogue.bindings,
    a: variant.vectorA ? 'read vec4f' : 'read f32',
    b: variant.vectorB ? 'read vec4f' : 'read f32',
    ...(continues && { initial: 'read f32' }),
  };
  return program({
    name: `product ${rows}×${columns}×${depth}${half ? ' of float16' : ''}`,
    bindings,
    params: { ...operandParams, ...epilogue.params },
    ...(half && { enables: ['f16'] }),
    code: `${epilogue.code}${half ? halfFunctions : ''}
${loadText('a', 'm', !transposeA, variant.vectorA)}
${loadText('b', 'n', transposeB, variant.vectorB)}
var<workgroup> aTile: array<${tileElement}, ${(depth * rows) / 4}>;
var<workgroup> bTile: array<${tileElement}, ${(depth * columns) / 4}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let kFrom = group.z * params.depth;
  let kEnd = min(params.k, kFrom + params.depth);
  let tx = local % ${across}u;
  let ty = local / ${across}u;
  let row = group.y * ${rows}u + 4u * ty;
  let column = group.x * ${columns}u + 4u * tx;
${start}
  for (var k = kFrom; k < kEnd; k += ${depth}u) {
${fillText('a', `group.y * ${rows}u`, rows, depth, threads, !transposeA, store('aTile'))}
${fillText('b', `group.x * ${columns}u`, columns, depth, threads, transposeB, store('bTile'))}
    workgroupBarrier();
    for (var step = 0u; step < ${depth}u; step++) {
      ${rowGroups.map((i) => `let a${i} = vec4f(aTile[step * ${rows / 4}u + ${i * down}u + ty]);`).join(' ')}
      ${columnGroups.map((j) => `let b${j} = vec4f(bTile[step * ${columns / 4}u + ${j * across}u + tx]);`).join(' ')}
      ${sums.map(({ i, r, j, name }) => `${name} = fma(vec4f(a${i}.${components[r]!}), b${j}, ${name});`).join('\n      ')}
    }
    workgroupBarrier();
  }
${stores}
}`,
  });
});
