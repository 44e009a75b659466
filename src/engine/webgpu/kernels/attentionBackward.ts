/**
 * The gradients of attention, with the weights recomputed from the scores and their saved logs, in two passes without
 * atomics: one whose workgroups have queries and meet keys, then one whose workgroups have keys and meet queries. Sums have the
 * order of the rows that are met.
 */
import { gradientRows, operandRows } from '../../attentionOptions.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Tensor } from '../../tensor.ts';
import type { Gpu } from '../gpu.ts';
import type { GpuTensor } from '../memory.ts';
import { memoized, program } from '../program.ts';
import { softwareLanes } from '../softwareLanes.ts';
import { attentionKeyLanes, attentionQueryLanes } from '../wgsl/attentionBackwardLanes.ts';
import { attentionKeyTiles, attentionQueryTiles } from '../wgsl/attentionBackwardTiles.ts';
import { rowElement } from '../wgsl/attentionTiles.ts';
import { dropoutParams } from '../wgsl/dropout.ts';
import { rangeBindings, rangeName, rangeParams } from '../wgsl/keyRanges.ts';
import { tileGroups } from './attention.ts';
import { boundRanges, rangesOf } from './documents.ts';
import { attentionRanges, gpuRows, headShape } from './headSize.ts';
import { ofSize } from './sameSize.ts';
import { rangeDropout, type SampleRange } from './sampleRanges.ts';

const params = {
  /** Queries, and keys. */
  time: 'u32',
  keyTime: 'u32',
  queryFrom: 'u32',
  dqueryFrom: 'u32',
  queryStride: 'u32',
  keyFrom: 'u32',
  valueFrom: 'u32',
  dkeyFrom: 'u32',
  dvalueFrom: 'u32',
  keyStride: 'u32',
  /** Heads of queries that share a head of keys and values. */
  headsPerKv: 'u32',
  outFrom: 'u32',
  outStride: 'u32',
  lseFrom: 'u32',
  restOffset: 'u32',
  zero: 'u32',
  /** For programs that serve any head size. */
  headSize: 'u32',
  scale: 'f32',
  ...rangeParams,
  ...dropoutParams,
} as const;

const queryPass = memoized(
  (lanes: number, headSize: number, hasDropout: boolean, hasStarts: boolean, hasEnds: boolean) => {
    const element = lanes > 0 ? 'f32' : rowElement(headSize);
    const traits = { hasDropout, hasStarts, hasEnds };
    return program({
      name: `attentionBackward of queries${rangeName(traits)}${hasDropout ? ' with dropout' : ''}`,
      bindings: rangeBindings(
        {
          dqueries: `read_write ${element}`,
          meanGradients: 'read_write f32',
          queries: `read ${element}`,
          keys: `read ${element}`,
          dout: `read ${element}`,
          out: `read ${element}`,
          lse: 'read f32',
        } as const,
        traits,
      ),
      params,
      ...(lanes > 0
        ? { code: attentionQueryLanes(lanes, traits), enables: ['subgroups'] }
        : { code: attentionQueryTiles(headSize, traits) }),
    });
  },
);

const keyPass = memoized(
  (lanes: number, headSize: number, hasDropout: boolean, hasStarts: boolean, hasEnds: boolean) => {
    const element = lanes > 0 ? 'f32' : rowElement(headSize);
    const traits = { hasDropout, hasStarts, hasEnds };
    return program({
      name: `attentionBackward of keys${rangeName(traits)}${hasDropout ? ' with dropout' : ''}`,
      bindings: rangeBindings(
        {
          dkeys: `read_write ${element}`,
          queries: `read ${element}`,
          keys: `read ${element}`,
          dout: `read ${element}`,
          lse: 'read f32',
          meanGradients: 'read f32',
        } as const,
        traits,
      ),
      params,
      ...(lanes > 0
        ? { code: attentionKeyLanes(lanes, traits), enables: ['subgroups'] }
        : { code: attentionKeyTiles(headSize, traits) }),
    });
  },
);

export function attentionBackward(gpu: Gpu, options: KernelOptions<'attentionBackward'>): void {
  const { dropout } = options;
  const shape = headShape(options);
  const { b, tq, tk, nHead, nKvHead, headSize, c } = shape;
  const rows = gpuRows(operandRows<Tensor>(options, shape), 'q');
  const gradients = gpuRows(gradientRows(options, shape), 'dq');
  const [out, dout] = [ofSize(options.out, 'out', b * tq * c), ofSize(options.dout, 'dout', b * tq * c)];
  const lse = ofSize(options.lse, 'lse', 2 * b * nHead * tq);
  const ranges = attentionRanges(gpu, shape, rows);
  const lanes = softwareLanes(gpu);
  const { starts, ends } = rangesOf('attentionBackward', options, shape);
  const key = [
    lanes,
    lanes > 0 ? 0 : headSize,
    dropout !== undefined,
    starts !== undefined,
    ends !== undefined,
  ] as const;
  gpu.withTemporary([ranges[0]!.count, nHead, tq], (meanGradients: GpuTensor) => {
    for (const range of ranges) {
      const [queries, dqueries] = [rows, gradients].map(({ q, queryStride }) => range.bind(q, tq * queryStride)) as [
        BoundRows,
        BoundRows,
      ];
      const [keys, dkeys] = [rows, gradients].map(({ kv, keyStride }) => range.bind(kv, tk * keyStride)) as [
        BoundRows,
        BoundRows,
      ];
      const [result, gradient] = [range.bind(out, tq * c), range.bind(dout, tq * c)];
      const bound = boundRanges(range, { starts, ends }, tq);
      const tensors = {
        ...bound.tensors,
        meanGradients,
        queries: queries.bound,
        keys: keys.bound,
        dout: gradient.bound,
        lse,
      };
      const params = {
        time: tq,
        keyTime: tk,
        queryFrom: queries.from,
        dqueryFrom: dqueries.from,
        queryStride: rows.queryStride,
        keyFrom: keys.from + rows.keyFrom,
        valueFrom: keys.from + rows.valueFrom,
        dkeyFrom: dkeys.from + rows.keyFrom,
        dvalueFrom: dkeys.from + rows.valueFrom,
        keyStride: rows.keyStride,
        headsPerKv: nHead / nKvHead,
        outFrom: result.from,
        outStride: c,
        lseFrom: range.first * nHead * tq,
        restOffset: b * nHead * tq,
        zero: 0,
        headSize,
        scale: 1 / Math.sqrt(headSize),
        ...bound.params,
        ...rangeDropout(dropout, range.first),
      };
      gpu.run(queryPass(...key), {
        tensors: { ...tensors, dqueries: dqueries.bound, out: result.bound },
        params,
        groups: [tileGroups(tq, lanes), nHead, range.count],
      });
      gpu.run(keyPass(...key), {
        tensors: { ...tensors, dkeys: dkeys.bound },
        params,
        groups: [tileGroups(tk, lanes), nKvHead, range.count],
      });
    }
  });
}

type BoundRows = ReturnType<SampleRange['bind']>;
