/**
 * Causal attention in tiles of queries by keys. The softmax is a running maximum and sum, so no [T, T] matrix exists (FlashAttention-2:
 * https://arxiv.org/abs/2307.08691). Tiles that no query of the workgroup sees are not read.
 */
import type { KernelOptions } from '../../kernels.ts';
import type { Bound } from '../commands.ts';
import type { Gpu } from '../gpu.ts';
import { type GpuTensor, gpuTensor } from '../memory.ts';
import { memoized, program } from '../program.ts';
import { softwareLanes } from '../softwareLanes.ts';
import { attentionForwardLanes } from '../wgsl/attentionForwardLanes.ts';
import { attentionForwardTiles } from '../wgsl/attentionForwardTiles.ts';
import { laneRows } from '../wgsl/attentionLanes.ts';
import { ROWS, rowElement } from '../wgsl/attentionTiles.ts';
import { documentBindings, documentParams } from '../wgsl/documents.ts';
import { dropoutParams } from '../wgsl/dropout.ts';
import { boundDocuments, startsOf } from './documents.ts';
import { headShape } from './headSize.ts';
import { ofSize } from './sameSize.ts';
import { rangeDropout, sampleRanges } from './sampleRanges.ts';

const tensors = (element: 'f32' | 'vec4f') =>
  ({
    out: `read_write ${element}`,
    queries: `read ${element}`,
    keys: `read ${element}`,
    values: `read ${element}`,
  }) as const;

const params = {
  time: 'u32',
  position: 'u32',
  queryFrom: 'u32',
  queryStride: 'u32',
  keyFrom: 'u32',
  valueFrom: 'u32',
  keyStride: 'u32',
  outFrom: 'u32',
  /** Heads of queries that share a head of keys and values. */
  headsPerKv: 'u32',
  /** For programs that serve any head size. */
  headSize: 'u32',
  scale: 'f32',
} as const;

const paramsOfTraining = {
  ...params,
  lseFrom: 'u32',
  restOffset: 'u32',
  zero: 'u32',
  ...documentParams,
  ...dropoutParams,
} as const;

const forward = memoized((lanes: number, headSize: number, hasDropout: boolean, hasDocuments: boolean) => {
  const traits = { hasDropout, hasLse: true, hasDocuments };
  const bindings = { ...tensors(lanes > 0 ? 'f32' : rowElement(headSize)), lse: 'read_write f32' } as const;
  return program({
    name: `attentionForward${hasDocuments ? ' of documents' : ''}${hasDropout ? ' with dropout' : ''}`,
    bindings: documentBindings(bindings, hasDocuments),
    params: paramsOfTraining,
    ...(lanes > 0
      ? { code: attentionForwardLanes(lanes, traits), enables: ['subgroups'] }
      : { code: attentionForwardTiles(headSize, traits) }),
  });
});

const untrained = { hasDropout: false, hasLse: false, hasDocuments: false };

const decode = memoized((lanes: number, headSize: number) =>
  program({
    name: 'attentionDecode in tiles',
    bindings: tensors(lanes > 0 ? 'f32' : rowElement(headSize)),
    params,
    ...(lanes > 0
      ? { code: attentionForwardLanes(lanes, untrained), enables: ['subgroups'] }
      : { code: attentionForwardTiles(headSize, untrained) }),
  }),
);

/** Workgroups for `t` rows. */
export function tileGroups(t: number, lanes: number): number {
  return Math.ceil(t / (lanes > 0 ? laneRows(lanes) : ROWS));
}

export function attentionForward(gpu: Gpu, options: KernelOptions<'attentionForward'>): void {
  const { dropout } = options;
  const { b, t, nHead, nKvHead, headSize, c, kvWidth, width } = headShape(options);
  const qkv = gpuTensor(options.qkv, 'qkv');
  const out = ofSize(options.out, 'out', b * t * c);
  const lse = ofSize(options.lse, 'lse', 2 * b * nHead * t);
  const lanes = softwareLanes(gpu);
  const starts = startsOf('attentionForward', options, b, t);
  const attend = forward(lanes, lanes > 0 ? 0 : headSize, dropout !== undefined, starts !== undefined);
  for (const range of sampleRanges(gpu, b, t * width, 'qkv')) {
    const rows = range.bind(qkv, t * width);
    const to = range.bind(out, t * c);
    const documents = boundDocuments(range, starts, t);
    gpu.run(attend, {
      tensors: { out: to.bound, queries: rows.bound, keys: rows.bound, values: rows.bound, lse, ...documents.tensors },
      params: {
        time: t,
        position: 0,
        queryFrom: rows.from,
        queryStride: width,
        keyFrom: rows.from + c,
        valueFrom: rows.from + c + kvWidth,
        keyStride: width,
        outFrom: to.from,
        headsPerKv: nHead / nKvHead,
        headSize,
        scale: 1 / Math.sqrt(headSize),
        lseFrom: range.first * nHead * t,
        restOffset: b * nHead * t,
        zero: 0,
        ...documents.params,
        ...rangeDropout(dropout, range.first),
      },
      groups: [tileGroups(t, lanes), nHead, range.count],
    });
  }
}

/** T queries of one sequence. */
export interface CacheQueries {
  /** [T, C]. */
  readonly out: { readonly bound: Bound; readonly from: number };
  /** [T, width]. */
  readonly qkv: { readonly bound: Bound; readonly from: number };
  readonly keys: GpuTensor;
  readonly values: GpuTensor;
  readonly position: number;
  readonly shape: ReturnType<typeof headShape>;
}

/** Attention over the rows of a cache, where the queries' own keys and values already are, up to each query's own. */
export function attendInTiles(gpu: Gpu, { out, qkv, keys, values, position, shape }: CacheQueries): void {
  const lanes = softwareLanes(gpu);
  const { t, nHead, nKvHead, headSize, kvWidth, width } = shape;
  gpu.run(decode(lanes, lanes > 0 ? 0 : headSize), {
    tensors: { out: out.bound, queries: qkv.bound, keys, values },
    params: {
      time: t,
      position,
      queryFrom: qkv.from,
      queryStride: width,
      keyFrom: 0,
      valueFrom: 0,
      keyStride: kvWidth,
      outFrom: out.from,
      headsPerKv: nHead / nKvHead,
      headSize,
      scale: 1 / Math.sqrt(headSize),
    },
    groups: [tileGroups(t, lanes), nHead],
  });
}
