/** The sums over all rows that norms need for the gradients of their parameters: each block of rows by itself, then the blocks in their order. */
import type { Gpu } from '../gpu.ts';
import type { GpuTensor } from '../memory.ts';
import { FLAT_GROUP, program } from '../program.ts';

/** Rows of a block, and how many blocks there are at most: enough invocations for a large GPU, and few partial sums. */
const BLOCK_ROWS_MIN = 32;
const BLOCKS_MAX = 256;

/** How `rows` rows are divided. */
export function blocksOf(rows: number): { readonly blockRows: number; readonly blocks: number } {
  const blockRows = Math.max(BLOCK_ROWS_MIN, Math.ceil(rows / BLOCKS_MAX));
  return { blockRows, blocks: Math.ceil(rows / blockRows) };
}

const SLICES = 8;
const SUM_COLUMNS = FLAT_GROUP / SLICES;

/** Adds row `which`, `which + stride`, … of the partials: each of some slices of the blocks, then the slices in their order. */
const sumOfBlocks = program({
  name: 'sums of blocks',
  bindings: { to: 'read_write f32', partials: 'read f32' },
  params: { size: 'u32', blocks: 'u32', which: 'u32', stride: 'u32' },
  code: `
var<workgroup> slices: array<f32, ${FLAT_GROUP}>;
@compute @workgroup_size(${FLAT_GROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let slice = local / ${SUM_COLUMNS}u;
  let column = group.x * ${SUM_COLUMNS}u + local % ${SUM_COLUMNS}u;
  let sliceBlocks = (params.blocks + ${SLICES - 1}u) / ${SLICES}u;
  let end = select(0u, min(params.blocks, (slice + 1u) * sliceBlocks), column < params.size);
  var sum = 0.0;
  for (var block = slice * sliceBlocks; block < end; block++) {
    sum += partials[(params.stride * block + params.which) * params.size + column];
  }
  slices[local] = sum;
  workgroupBarrier();
  if (slice > 0u || column >= params.size) { return; }
  for (var i = 1u; i < ${SLICES}u; i++) { sum += slices[local + i * ${SUM_COLUMNS}u]; }
  to[column] += sum;
}`,
});

/** to [C] += the sums of rows `which`, `which + stride`, … of partials [blocks · stride, C]. */
export function addBlockSums(
  gpu: Gpu,
  tensors: { readonly to: GpuTensor; readonly partials: GpuTensor },
  params: { readonly blocks: number; readonly which: number; readonly stride: number },
): void {
  const { size } = tensors.to;
  gpu.run(sumOfBlocks, { tensors, params: { size, ...params }, groups: [Math.ceil(size / SUM_COLUMNS)] });
}
