/** The sums of a matrix's columns, as the gradient of a bias. */
import type { Gpu } from '../gpu.ts';
import type { GpuTensor } from '../memory.ts';
import { program } from '../program.ts';

/** Columns and rows of a workgroup's invocations. */
const [ACROSS, DOWN] = [32, 8];

/** Each invocation sums every `DOWN`th row of a chunk; then those sums are added in order. */
const chunkSums = program({
  name: 'column sums of chunks',
  bindings: { sums: 'read_write f32', inp: 'read f32' },
  params: { rows: 'u32', columns: 'u32', chunk: 'u32', firstChunk: 'u32' },
  code: `
var<workgroup> lines: array<f32, ${ACROSS * DOWN}>;
@compute @workgroup_size(${ACROSS}, ${DOWN})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let column = group.x * ${ACROSS}u + local.x;
  let end = min(params.rows, (group.y + 1u) * params.chunk);
  var sum = 0.0;
  if (column < params.columns) {
    for (var row = group.y * params.chunk + local.y; row < end; row += ${DOWN}u) { sum += inp[row * params.columns + column]; }
  }
  lines[local.y * ${ACROSS}u + local.x] = sum;
  workgroupBarrier();
  if (local.y == 0u && column < params.columns) {
    for (var line = 1u; line < ${DOWN}u; line++) { sum += lines[line * ${ACROSS}u + local.x]; }
    sums[(params.firstChunk + group.y) * params.columns + column] = sum;
  }
}`,
});

const chunksAdded = program({
  name: 'column sums',
  bindings: { out: 'read_write f32', sums: 'read f32' },
  params: { columns: 'u32', chunks: 'u32' },
  code: `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.columns) { return; }
  var sum = 0.0;
  for (var chunk = 0u; chunk < params.chunks; chunk++) { sum += sums[chunk * params.columns + id.x]; }
  out[id.x] += sum;
}`,
});

/** out [columns] += the sums of inp [rows, columns] over its rows: chunks of rows by themselves, then the chunks in order. */
export function columnSums(
  gpu: Gpu,
  { out, inp, rows, columns }: { out: GpuTensor; inp: GpuTensor; rows: number; columns: number },
): void {
  const chunk = 64 * Math.ceil(rows / 64 / 64);
  const chunks = Math.ceil(rows / chunk);
  gpu.withTemporary([chunks, columns], (sums) => {
    // Parts that fit a binding, each of complete chunks and from a multiple of 64 elements.
    const step = Math.max(1, Math.floor(gpu.bindingFloatsMax / (chunk * columns)));
    for (let first = 0; first < chunks; first += step) {
      const [from, to] = [first * chunk, Math.min(rows, (first + step) * chunk)];
      gpu.run(chunkSums, {
        tensors: { sums, inp: { tensor: inp, from: from * columns, length: (to - from) * columns } },
        params: { rows: to - from, columns, chunk, firstChunk: first },
        groups: [Math.ceil(columns / ACROSS), Math.ceil((to - from) / chunk)],
      });
    }
    gpu.run(chunksAdded, { tensors: { out, sums }, params: { columns, chunks }, groups: [Math.ceil(columns / 64)] });
  });
}
