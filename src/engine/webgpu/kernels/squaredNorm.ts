/** The sum of squares: of blocks in float32, in short sums of sums, then of the blocks in float64 on the host. */
import type { TensorGroup } from '../../tensor.ts';
import type { Gpu } from '../gpu.ts';
import { gpuGroup } from '../memory.ts';
import { flatGrid, program } from '../program.ts';

/** Invocations of a workgroup, which sums one block. */
const GROUP = 64;
/** Vectors of four that an invocation reads: some sums of some vectors. */
const [SUMS, VECTORS] = [4, 8];
const BLOCK_FLOATS = GROUP * SUMS * VECTORS * 4;

const blockSquares = program({
  name: 'squaredNorm',
  bindings: { sums: 'read_write f32', block: 'read vec4f' },
  params: { vectors: 'u32', blocks: 'u32', firstBlock: 'u32' },
  code: `
var<workgroup> partials: array<f32, ${GROUP}>;
var<workgroup> ofEight: array<f32, 8>;
@compute @workgroup_size(${GROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = group.y * groups.x + group.x;
  if (number >= params.blocks) { return; }
  var at = number * ${GROUP * SUMS * VECTORS}u + local;
  let end = min(params.vectors, (number + 1u) * ${GROUP * SUMS * VECTORS}u);
  var all = vec4f();
  while (at < end) {
    let last = min(end, at + ${GROUP * VECTORS}u);
    var some = vec4f();
    for (; at < last; at += ${GROUP}u) { some += block[at] * block[at]; }
    all += some;
  }
  partials[local] = dot(all, vec4f(1.0));
  workgroupBarrier();
  if (local < 8u) {
    var eight = 0.0;
    for (var i = 0u; i < 8u; i++) { eight += partials[8u * local + i]; }
    ofEight[local] = eight;
  }
  workgroupBarrier();
  if (local == 0u) {
    var sum = 0.0;
    for (var i = 0u; i < 8u; i++) { sum += ofEight[i]; }
    sums[params.firstBlock + number] = sum;
  }
}`,
});

/** The padding between tensors is 0. */
export async function squaredNorm(gpu: Gpu, group: TensorGroup): Promise<number> {
  const { block } = gpuGroup(group);
  const sums = new Float32Array(Math.ceil(block.size / BLOCK_FLOATS));
  const partFloats = Math.max(BLOCK_FLOATS, gpu.bindingFloatsMax - (gpu.bindingFloatsMax % BLOCK_FLOATS));
  const read = gpu.withTemporary([Math.max(1, sums.length)], (onGpu) => {
    for (let from = 0; from < block.size; from += partFloats) {
      const length = Math.min(partFloats, block.size - from);
      const blocks = Math.ceil(length / BLOCK_FLOATS);
      gpu.run(blockSquares, {
        tensors: { sums: onGpu, block: { tensor: block, from, length } },
        params: { vectors: length / 4, blocks, firstBlock: from / BLOCK_FLOATS },
        groups: flatGrid(blocks),
      });
    }
    return gpu.transfers.read(onGpu.buffer, onGpu.byteOffset, sums);
  });
  await read;
  return sums.reduce((total, sum) => total + sum, 0);
}
