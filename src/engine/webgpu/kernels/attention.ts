/**
 * Attention in tiles of queries by keys. The softmax is a running maximum and sum, so no [T, T] matrix exists (FlashAttention-2:
 * https://arxiv.org/abs/2307.08691). Tiles that no query of the workgroup sees are not read.
 */
import { operandRows } from '../../attentionOptions.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Tensor } from '../../tensor.ts';
import type { Bound } from '../commands.ts';
import type { Gpu } from '../gpu.ts';
import type { GpuTensor } from '../memory.ts';
import { memoized, program } from '../program.ts';
import { softwareLanes } from '../softwareLanes.ts';
import { attentionForwardLanes } from '../wgsl/attentionForwardLanes.ts';
import { attentionForwardTiles } from '../wgsl/attentionForwardTiles.ts';
import { laneRows } from '../wgsl/attentionLanes.ts';
import { ROWS, rowElement } from '../wgsl/attentionTiles.ts';
import { dropoutParams } from '../wgsl/dropout.ts';
import { rangeBindings, rangeName, rangeParams } from '../wgsl/keyRanges.ts';
import { boundRanges, rangesOf } from './documents.ts';
import { attentionRanges, gpuRows, headShape } from './headSize.ts';
import { ofSize } from './sameSize.ts';
import { rangeDropout } from './sampleRanges.ts';

const tensors = (element: 'f32' | 'vec4f') =>
  ({
    out: `read_write ${element}`,
    queries: `read ${element}`,
    keys: `read ${element}`,
    values: `read ${element}`,
  }) as const;

const params = {
  /** Queries, and keys. */
  time: 'u32',
  keyTime: 'u32',
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
  ...rangeParams,
  ...dropoutParams,
} as const;

const forward = memoized(
  (lanes: number, headSize: number, hasDropout: boolean, hasStarts: boolean, hasEnds: boolean) => {
    const traits = { hasDropout, hasLse: true, hasStarts, hasEnds };
    const bindings = { ...tensors(lanes > 0 ? 'f32' : rowElement(headSize)), lse: 'read_write f32' } as const;
    return program({
      name: `attentionForward${rangeName(traits)}${hasDropout ? ' with dropout' : ''}`,
      bindings: rangeBindings(bindings, traits),
      params: paramsOfTraining,
      ...(lanes > 0
        ? { code: attentionForwardLanes(lanes, traits), enables: ['subgroups'] }
        : { code: attentionForwardTiles(headSize, traits) }),
    });
  },
);

const untrained = { hasDropout: false, hasLse: false, hasStarts: false, hasEnds: false };

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
  const shape = headShape(options);
  const { b, tq, tk, nHead, nKvHead, headSize, c } = shape;
  const rows = gpuRows(operandRows<Tensor>(options, shape), 'q');
  const out = ofSize(options.out, 'out', b * tq * c);
  const lse = ofSize(options.lse, 'lse', 2 * b * nHead * tq);
  const lanes = softwareLanes(gpu);
  const { starts, ends } = rangesOf('attentionForward', options, shape);
  const attend = forward(
    lanes,
    lanes > 0 ? 0 : headSize,
    dropout !== undefined,
    starts !== undefined,
    ends !== undefined,
  );
  for (const range of attentionRanges(gpu, shape, rows)) {
    const queries = range.bind(rows.q, tq * rows.queryStride);
    const keys = range.bind(rows.kv, tk * rows.keyStride);
    const to = range.bind(out, tq * c);
    const bound = boundRanges(range, { starts, ends }, tq);
    gpu.run(attend, {
      tensors: { out: to.bound, queries: queries.bound, keys: keys.bound, values: keys.bound, lse, ...bound.tensors },
      params: {
        time: tq,
        keyTime: tk,
        position: 0,
        queryFrom: queries.from,
        queryStride: rows.queryStride,
        keyFrom: keys.from + rows.keyFrom,
        valueFrom: keys.from + rows.valueFrom,
        keyStride: rows.keyStride,
        outFrom: to.from,
        headsPerKv: nHead / nKvHead,
        headSize,
        scale: 1 / Math.sqrt(headSize),
        lseFrom: range.first * nHead * tq,
        restOffset: b * nHead * tq,
        zero: 0,
        ...bound.params,
        ...rangeDropout(dropout, range.first),
      },
      groups: [tileGroups(tq, lanes), nHead, range.count],
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
  const { tq: t, nHead, nKvHead, headSize, kvWidth, width } = shape;
  gpu.run(decode(lanes, lanes > 0 ? 0 : headSize), {
    tensors: { out: out.bound, queries: qkv.bound, keys, values },
    params: {
      time: t,
      keyTime: position + t,
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
