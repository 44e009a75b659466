/**
 * Attention of the newest tokens of sequences to their keys and values: including their own, or to those of another sequence. A few tokens are queries by themselves:
 * blocks of the positions that a query sees are workgroups, and what they find is merged in order. Many are attended to in the tiles
 * of the forward pass.
 */
import { type CachedKeys, decodeShape, expectCache, expectSequences } from '../../attentionOptions.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';
import { gpuTensor } from '../memory.ts';
import { flatGroups, flatMain, program } from '../program.ts';
import { scoreMin } from '../wgsl/attentionTiles.ts';
import { attendInTiles, type CacheQueries } from './attention.ts';
import { widthOfRows } from './headSize.ts';
import { ofSize } from './sameSize.ts';
import { SampleRange } from './sampleRanges.ts';

/** From this number of tokens on, tiles are faster. */
const TILED_TOKENS = 8;
/** Positions of a block: the invocations of a workgroup. Those that a reduction takes at once are its square root. */
const BLOCK = 64;
const REDUCED = 8;

const append = program({
  name: 'attentionDecode, cache',
  bindings: { keys: 'read_write f32', values: 'read_write f32', qkv: 'read f32' },
  params: { count: 'u32', kvWidth: 'u32', width: 'u32', keyFrom: 'u32', position: 'u32' },
  code: flatMain(`
  let inp = params.keyFrom + i / params.kvWidth * params.width + i % params.kvWidth;
  keys[params.position * params.kvWidth + i] = qkv[inp];
  values[params.position * params.kvWidth + i] = qkv[inp + params.kvWidth];`),
});

const blocks = program({
  name: 'attentionDecode',
  bindings: { parts: 'read_write f32', keys: 'read_write f32', values: 'read_write f32', qkv: 'read f32' },
  params: {
    c: 'u32',
    kvWidth: 'u32',
    width: 'u32',
    headsPerKv: 'u32',
    headSize: 'u32',
    scale: 'f32',
    qkvFrom: 'u32',
    position: 'u32',
    // 1 if the tokens have keys and values of their own.
    own: 'u32',
  },
  code: `
var<workgroup> weights: array<f32, ${BLOCK}>;
var<workgroup> maxima: array<f32, ${REDUCED}>;
fn key(j: u32, x: u32) -> f32 {
  if (j < params.position) { return keys[j * params.kvWidth + x]; }
  return qkv[params.qkvFrom + (j - params.position) * params.width + params.c + x];
}
fn value(j: u32, x: u32) -> f32 {
  if (j < params.position) { return values[j * params.kvWidth + x]; }
  return qkv[params.qkvFrom + (j - params.position) * params.width + params.c + params.kvWidth + x];
}
@compute @workgroup_size(${BLOCK})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let x0 = group.y / params.headsPerKv * params.headSize;
  let row = params.qkvFrom + group.z * params.width;
  let query = row + group.y * params.headSize;
  let length = params.position + params.own * (group.z + 1u);
  let first = group.x * ${BLOCK}u;
  let count = min(${BLOCK}u, length - min(length, first));
  var score = ${scoreMin};
  if (local < count) {
    score = 0.0;
    for (var x = 0u; x < params.headSize; x++) {
      score = fma(qkv[query + x] * params.scale, key(first + local, x0 + x), score);
    }
  }
  weights[local] = score;
  workgroupBarrier();
  if (local < ${REDUCED}u) {
    var most = ${scoreMin};
    for (var n = local; n < ${BLOCK}u; n += ${REDUCED}u) { most = max(most, weights[n]); }
    maxima[local] = most;
  }
  workgroupBarrier();
  var maximum = ${scoreMin};
  for (var n = 0u; n < ${REDUCED}u; n++) { maximum = max(maximum, maxima[n]); }
  weights[local] = exp(score - maximum);
  workgroupBarrier();
  let part = ((group.z * groups.y + group.y) * groups.x + group.x) * (params.headSize + 2u);
  for (var x = local; x < params.headSize; x += ${BLOCK}u) {
    var sum = 0.0;
    for (var n = 0u; n < count; n++) { sum = fma(weights[n], value(first + n, x0 + x), sum); }
    parts[part + 2u + x] = sum;
    // Nobody reads the rows from the position on here, so one block of each token may write them.
    if (params.own == 1u && group.x == 0u && group.y % params.headsPerKv == 0u) {
      keys[(length - 1u) * params.kvWidth + x0 + x] = qkv[row + params.c + x0 + x];
      values[(length - 1u) * params.kvWidth + x0 + x] = qkv[row + params.c + params.kvWidth + x0 + x];
    }
  }
  if (local == 0u) {
    var sum = 0.0;
    for (var n = 0u; n < count; n++) { sum += weights[n]; }
    parts[part] = maximum;
    parts[part + 1u] = sum;
  }
}`,
});

const merge = program({
  name: 'attentionDecode, merge',
  bindings: { out: 'read_write f32', parts: 'read f32' },
  params: { c: 'u32', headSize: 'u32', outFrom: 'u32', blocks: 'u32' },
  code: `
@compute @workgroup_size(${BLOCK})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let size = params.headSize + 2u;
  let begin = (group.z * groups.y + group.y) * params.blocks * size;
  let end = begin + params.blocks * size;
  var maximum = ${scoreMin};
  for (var part = begin; part < end; part += size) { maximum = max(maximum, parts[part]); }
  for (var x = local; x < params.headSize; x += ${BLOCK}u) {
    var sum = 0.0;
    var total = 0.0;
    for (var part = begin; part < end; part += size) {
      let factor = exp(parts[part] - maximum);
      total = fma(factor, parts[part + 1u], total);
      sum = fma(factor, parts[part + 2u + x], sum);
    }
    out[params.outFrom + group.z * params.c + group.y * params.headSize + x] = sum / total;
  }
}`,
});

export function attentionDecode(gpu: Gpu, options: KernelOptions<'attentionDecode'>): void {
  const { sequences } = options;
  const own = options.qkv === undefined ? 0 : 1;
  const shape = widthOfRows(decodeShape(options), own);
  const { b, tq: t, c, kvWidth, width } = shape;
  const [qkv, out] = [gpuTensor(options.qkv ?? options.q, 'qkv'), ofSize(options.out, 'out', b * t * c)];
  expectSequences(sequences, b);
  for (const cache of sequences) expectCache(cache, own * t, kvWidth);
  for (const [i, cache] of sequences.entries()) {
    const range = new SampleRange(i, 1);
    const tokens = { out: range.bind(out, t * c), qkv: range.bind(qkv, t * width), ...gpuCache(cache), shape };
    if (t < TILED_TOKENS || own === 0) attendInBlocks(gpu, tokens, own);
    else {
      const { keys, values, position } = tokens;
      gpu.run(append, {
        tensors: { keys, values, qkv: tokens.qkv.bound },
        params: { count: t * kvWidth, kvWidth, width, keyFrom: tokens.qkv.from + c, position },
        groups: flatGroups(t * kvWidth),
      });
      attendInTiles(gpu, tokens);
    }
  }
}

function gpuCache({ keys, values, position }: CachedKeys) {
  return { keys: gpuTensor(keys, 'keys'), values: gpuTensor(values, 'values'), position };
}

function attendInBlocks(gpu: Gpu, { out, qkv, keys, values, position, shape }: CacheQueries, own: 0 | 1) {
  const { tq: t, nHead, nKvHead, headSize, c, kvWidth, width } = shape;
  const count = Math.ceil((position + own * t) / BLOCK);
  const headsPerKv = nHead / nKvHead;
  gpu.withTemporary([t, nHead, count, headSize + 2], (parts) => {
    gpu.run(blocks, {
      tensors: { parts, keys, values, qkv: qkv.bound },
      params: {
        c,
        kvWidth,
        width,
        headsPerKv,
        headSize,
        scale: 1 / Math.sqrt(headSize),
        qkvFrom: qkv.from,
        position,
        own,
      },
      groups: [count, nHead, t],
    });
    gpu.run(merge, {
      tensors: { out: out.bound, parts },
      params: { c, headSize, outFrom: out.from, blocks: count },
      groups: [1, nHead, t],
    });
  });
}
