/** What Muon needs besides products: weighted sums of parts of matrices, and a matrix divided by its norm. */
import type { KernelOptions } from '../../kernels.ts';
import { type PlacedMatrix, weightedSumParts } from '../../optimizerOptions.ts';
import type { Gpu } from '../gpu.ts';
import { BINDING_ALIGNMENT, gpuTensor } from '../memory.ts';
import { FLAT_GROUP, flatGrid, flatGroups, flatMain, program } from '../program.ts';

const sumParams = {
  count: 'u32',
  columns: 'u32',
  outStart: 'u32',
  outStride: 'u32',
  bStart: 'u32',
  bStride: 'u32',
  scaleA: 'f32',
  scaleB: 'f32',
} as const;

const sumMain = (a: string): string =>
  flatMain(`
  let row = i / params.columns;
  let column = i - row * params.columns;
  let at = params.outStart + row * params.outStride + column;
  out[at] = params.scaleA * ${a} + params.scaleB * b[params.bStart + row * params.bStride + column];`);

const sum = program({
  name: 'weightedSum',
  bindings: { out: 'read_write f32', a: 'read f32', b: 'read f32' },
  params: { ...sumParams, aStart: 'u32', aStride: 'u32' },
  code: sumMain('a[params.aStart + row * params.aStride + column]'),
});

const sumInPlace = program({
  name: 'weightedSum in place',
  bindings: { out: 'read_write f32', b: 'read f32' },
  params: sumParams,
  code: sumMain('out[at]'),
});

export function weightedSum(gpu: Gpu, options: KernelOptions<'weightedSum'>): void {
  const { rows, columns, scaleA, scaleB } = options;
  const { out, a, b, isInPlace } = weightedSumParts(options);
  const stride = Math.max(out.stride, a.stride, b.stride);
  const rowsAtOnce = Math.max(1, Math.floor((gpu.bindingFloatsMax - 2 * BINDING_ALIGNMENT) / stride));
  for (let from = 0; from < rows; from += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - from);
    const [toOut, ofA, ofB] = [out, a, b].map((matrix) => bound(matrix, from, count, columns));
    const shared = {
      count: count * columns,
      columns,
      outStart: toOut!.start,
      outStride: out.stride,
      bStart: ofB!.start,
      bStride: b.stride,
      scaleA,
      scaleB,
    };
    const groups = flatGroups(count * columns);
    const tensors = { out: toOut!.range, b: ofB!.range };
    if (isInPlace) gpu.run(sumInPlace, { tensors, params: shared, groups });
    else {
      const params = { ...shared, aStart: ofA!.start, aStride: a.stride };
      gpu.run(sum, { tensors: { ...tensors, a: ofA!.range }, params, groups });
    }
  }
}

/** Some rows of a matrix: the elements of its tensor that a program binds, and the first row's place in them. */
function bound({ tensor, start, stride }: PlacedMatrix, row: number, rows: number, columns: number) {
  const first = start + row * stride;
  const from = first - (first % BINDING_ALIGNMENT);
  const length = first + (rows - 1) * stride + columns - from;
  return { start: first - from, range: { tensor: gpuTensor(tensor), from, length } };
}

/** Numbers that an invocation adds up. */
const NUMBERS = 32;

const squares = program({
  name: 'normalise: squares',
  bindings: { sums: 'read_write f32', values: 'read f32' },
  params: { size: 'u32', blocks: 'u32', firstBlock: 'u32' },
  code: `
var<workgroup> partials: array<f32, ${FLAT_GROUP}>;
@compute @workgroup_size(${FLAT_GROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let block = group.y * groups.x + group.x;
  if (block >= params.blocks) { return; }
  var sum = 0.0;
  for (var i = 0u; i < ${NUMBERS}u; i++) {
    let at = (block * ${NUMBERS}u + i) * ${FLAT_GROUP}u + local;
    if (at < params.size) { sum += values[at] * values[at]; }
  }
  partials[local] = sum;
  for (var half = ${FLAT_GROUP / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { partials[local] += partials[local + half]; }
  }
  if (local == 0u) { sums[params.firstBlock + block] = partials[0]; }
}`,
});

/** The factor replaces the first sum. */
const factor = program({
  name: 'normalise: factor',
  bindings: { sums: 'read_write f32' },
  params: { count: 'u32', eps: 'f32' },
  code: `
var<workgroup> partials: array<f32, ${FLAT_GROUP}>;
@compute @workgroup_size(${FLAT_GROUP})
fn main(@builtin(local_invocation_index) local: u32) {
  var sum = 0.0;
  for (var i = local; i < params.count; i += ${FLAT_GROUP}u) { sum += sums[i]; }
  partials[local] = sum;
  for (var half = ${FLAT_GROUP / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { partials[local] += partials[local + half]; }
  }
  if (local == 0u) { sums[0] = 1.0 / max(sqrt(partials[0]), params.eps); }
}`,
});

const scale = program({
  name: 'normalise',
  bindings: { values: 'read_write f32', sums: 'read f32' },
  params: { count: 'u32' },
  code: flatMain('values[i] *= sums[0];'),
});

export function normalise(gpu: Gpu, { tensor, eps }: KernelOptions<'normalise'>): void {
  const values = gpuTensor(tensor);
  const blockSize = FLAT_GROUP * NUMBERS;
  const atOnce = Math.max(blockSize, gpu.bindingFloatsMax - (gpu.bindingFloatsMax % blockSize));
  const count = Math.ceil(values.size / blockSize);
  gpu.withTemporary([count], (sums) => {
    for (let from = 0; from < values.size; from += atOnce) {
      const size = Math.min(atOnce, values.size - from);
      const blocks = Math.ceil(size / blockSize);
      gpu.run(squares, {
        tensors: { sums, values: { tensor: values, from, length: size } },
        params: { size, blocks, firstBlock: from / blockSize },
        groups: flatGrid(blocks),
      });
    }
    gpu.run(factor, { tensors: { sums }, params: { count, eps }, groups: [1] });
    for (let from = 0; from < values.size; from += atOnce) {
      const length = Math.min(atOnce, values.size - from);
      gpu.run(scale, {
        tensors: { values: { tensor: values, from, length }, sums },
        params: { count: length },
        groups: flatGroups(length),
      });
    }
  });
}
