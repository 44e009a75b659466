/** The documents that share samples, as the kernels take them. */
import { expectStarts } from '../../hostIntegers.ts';
import type { Documents } from '../../kernels.ts';
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

/** What the programs of wgsl/documents.ts get for some samples, beside their own tensors and parameters. */
export function boundDocuments(
  range: SampleRange,
  starts: GpuTensor | undefined,
  t: number,
): { readonly tensors: { readonly starts?: Bound }; readonly params: { readonly startsFrom: number } } {
  if (starts === undefined) return { tensors: {}, params: { startsFrom: 0 } };
  const { bound, from } = range.bind(starts, t);
  return { tensors: { starts: bound }, params: { startsFrom: from } };
}
