/**
 * The gradients of causal attention, with the weights recomputed from the scores and their saved logs, in two passes without
 * atomics: one whose workgroups have queries and meet keys, then one whose workgroups have keys and meet queries. Sums have the
 * order of the rows that are met.
 */
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';
import { type GpuTensor, gpuTensor } from '../memory.ts';
import { memoized, program } from '../program.ts';
import { softwareLanes } from '../softwareLanes.ts';
import { attentionKeyLanes, attentionQueryLanes } from '../wgsl/attentionBackwardLanes.ts';
import { attentionKeyTiles, attentionQueryTiles } from '../wgsl/attentionBackwardTiles.ts';
import { rowElement } from '../wgsl/attentionTiles.ts';
import { documentBindings, documentParams } from '../wgsl/documents.ts';
import { dropoutParams } from '../wgsl/dropout.ts';
import { tileGroups } from './attention.ts';
import { boundDocuments, startsOf } from './documents.ts';
import { headShape } from './headSize.ts';
import { ofSize } from './sameSize.ts';
import { rangeDropout, sampleRanges } from './sampleRanges.ts';

const params = {
  time: 'u32',
  qkvFrom: 'u32',
  dqkvFrom: 'u32',
  /** Widths: rows q|k|v, their queries and their keys. */
  width: 'u32',
  queryWidth: 'u32',
  keyWidth: 'u32',
  /** Heads of queries that share a head of keys and values. */
  headsPerKv: 'u32',
  outFrom: 'u32',
  lseFrom: 'u32',
  restOffset: 'u32',
  zero: 'u32',
  /** For programs that serve any head size. */
  headSize: 'u32',
  scale: 'f32',
  ...documentParams,
  ...dropoutParams,
} as const;

const queryPass = memoized((lanes: number, headSize: number, hasDropout: boolean, hasDocuments: boolean) => {
  const element = lanes > 0 ? 'f32' : rowElement(headSize);
  const traits = { hasDropout, hasDocuments };
  return program({
    name: `attentionBackward of queries${hasDocuments ? ' of documents' : ''}${hasDropout ? ' with dropout' : ''}`,
    bindings: documentBindings(
      {
        dqkv: `read_write ${element}`,
        meanGradients: 'read_write f32',
        qkv: `read ${element}`,
        dout: `read ${element}`,
        out: `read ${element}`,
        lse: 'read f32',
      } as const,
      hasDocuments,
    ),
    params,
    ...(lanes > 0
      ? { code: attentionQueryLanes(lanes, traits), enables: ['subgroups'] }
      : { code: attentionQueryTiles(headSize, traits) }),
  });
});

const keyPass = memoized((lanes: number, headSize: number, hasDropout: boolean, hasDocuments: boolean) => {
  const element = lanes > 0 ? 'f32' : rowElement(headSize);
  const traits = { hasDropout, hasDocuments };
  return program({
    name: `attentionBackward of keys${hasDocuments ? ' of documents' : ''}${hasDropout ? ' with dropout' : ''}`,
    bindings: documentBindings(
      {
        dqkv: `read_write ${element}`,
        qkv: `read ${element}`,
        dout: `read ${element}`,
        lse: 'read f32',
        meanGradients: 'read f32',
      } as const,
      hasDocuments,
    ),
    params,
    ...(lanes > 0
      ? { code: attentionKeyLanes(lanes, traits), enables: ['subgroups'] }
      : { code: attentionKeyTiles(headSize, traits) }),
  });
});

export function attentionBackward(gpu: Gpu, options: KernelOptions<'attentionBackward'>): void {
  const { dropout } = options;
  const { b, t, nHead, nKvHead, headSize, c, kvWidth, width } = headShape(options);
  const [qkv, dqkv] = [gpuTensor(options.qkv, 'qkv'), ofSize(options.dqkv, 'dqkv', options.qkv.size)];
  const [out, dout] = [ofSize(options.out, 'out', b * t * c), ofSize(options.dout, 'dout', b * t * c)];
  const lse = ofSize(options.lse, 'lse', 2 * b * nHead * t);
  const ranges = sampleRanges(gpu, b, t * width, 'qkv');
  const lanes = softwareLanes(gpu);
  const starts = startsOf('attentionBackward', options, b, t);
  const key = [lanes, lanes > 0 ? 0 : headSize, dropout !== undefined, starts !== undefined] as const;
  gpu.withTemporary([ranges[0]!.count, nHead, t], (meanGradients: GpuTensor) => {
    for (const range of ranges) {
      const [from, to] = [range.bind(qkv, t * width), range.bind(dqkv, t * width)];
      const [result, gradient] = [range.bind(out, t * c), range.bind(dout, t * c)];
      const documents = boundDocuments(range, starts, t);
      const tensors = {
        ...documents.tensors,
        dqkv: to.bound,
        meanGradients,
        qkv: from.bound,
        dout: gradient.bound,
        lse,
      };
      const params = {
        time: t,
        qkvFrom: from.from,
        dqkvFrom: to.from,
        width,
        queryWidth: c,
        keyWidth: kvWidth,
        headsPerKv: nHead / nKvHead,
        outFrom: result.from,
        lseFrom: range.first * nHead * t,
        restOffset: b * nHead * t,
        zero: 0,
        headSize,
        scale: 1 / Math.sqrt(headSize),
        ...documents.params,
        ...rangeDropout(dropout, range.first),
      };
      const groups = (heads: number) => [tileGroups(t, lanes), heads, range.count] as const;
      gpu.run(queryPass(...key), { tensors: { ...tensors, out: result.bound }, params, groups: groups(nHead) });
      gpu.run(keyPass(...key), { tensors, params, groups: groups(nKvHead) });
    }
  });
}
