/** The documents that share samples, and other ranges of keys, as the kernels take them. */
import { InvariantError } from '../../../base/errors.ts';
import type { KeyRanges } from '../../attentionOptions.ts';
import { type Documents, expectStarts } from '../../documents.ts';
import { expectRanges } from '../../hostIntegers.ts';
import type { Bound } from '../commands.ts';
import { type GpuTensor, hostIntegers } from '../memory.ts';
import { ofSize } from './sameSize.ts';
import type { SampleRange } from './sampleRanges.ts';

/** The starts [B, T] that a kernel was given, which are checked. */
export function startsOf(kernel: string, { starts }: Documents, b: number, t: number): GpuTensor | undefined {
  if (starts === undefined) return undefined;
  const tensor = ofSize(starts, 'starts', b * t);
  expectStarts(kernel, hostIntegers(tensor, 'starts'), t);
  return tensor;
}

/** The key ranges of an attention, each [B, Tq]. */
export interface GpuRanges {
  readonly starts: GpuTensor | undefined;
  readonly ends: GpuTensor | undefined;
}

/** The key ranges that a kernel was given, which are checked. */
export function rangesOf(
  kernel: string,
  options: KeyRanges,
  { b, tq, tk }: { readonly b: number; readonly tq: number; readonly tk: number },
): GpuRanges {
  if (options.ends === undefined) {
    if (tq !== tk) throw new InvariantError(`${kernel}: ${tq} queries of ${tk} keys need the ends of their ranges`);
    return { starts: startsOf(kernel, options, b, tq), ends: undefined };
  }
  const starts = options.starts && ofSize(options.starts, 'starts', b * tq);
  const ends = ofSize(options.ends, 'ends', b * tq);
  const values = { starts: starts && hostIntegers(starts, 'starts'), ends: hostIntegers(ends, 'ends') };
  expectRanges(kernel, values, { queries: tq, keys: tk });
  return { starts, ends };
}

/** What the programs of wgsl/keyRanges.ts get for some samples, beside their own tensors and parameters. */
export function boundRanges(
  range: SampleRange,
  { starts, ends }: GpuRanges,
  tq: number,
): {
  readonly tensors: { readonly starts?: Bound; readonly ends?: Bound };
  readonly params: { readonly startsFrom: number; readonly endsFrom: number };
} {
  const [first, last] = [starts && range.bind(starts, tq), ends && range.bind(ends, tq)];
  return {
    tensors: { ...(first && { starts: first.bound }), ...(last && { ends: last.bound }) },
    params: { startsFrom: first?.from ?? 0, endsFrom: last?.from ?? 0 },
  };
}
