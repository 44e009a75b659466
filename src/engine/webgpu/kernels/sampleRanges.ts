/** Kernels whose tensors may be larger than a binding, and that treat each sample by itself, are called for some samples at a time. */
import { UserError } from '../../../base/errors.ts';
import { grouped } from '../../../base/numberText.ts';
import type { Dropout } from '../../dropout.ts';
import type { Bound } from '../commands.ts';
import type { Gpu } from '../gpu.ts';
import { BINDING_ALIGNMENT, type GpuTensor } from '../memory.ts';
import { dropoutValues } from '../wgsl/dropout.ts';

/** Some of the samples of tensors. */
export class SampleRange {
  readonly first: number;
  readonly count: number;

  constructor(first: number, count: number) {
    this.first = first;
    this.count = count;
  }

  /** These samples of a tensor of `sampleSize` elements each, and the element of the bound array where they begin. */
  bind(tensor: GpuTensor, sampleSize: number): { readonly bound: Bound; readonly from: number } {
    const begin = this.first * sampleSize;
    const from = begin - (begin % BINDING_ALIGNMENT);
    return { bound: { tensor, from, length: begin + this.count * sampleSize - from }, from: begin - from };
  }
}

/** All samples in ranges of which a tensor of `sampleSize` elements each, the largest of a call, fits a binding. */
export function sampleRanges(gpu: Gpu, samples: number, sampleSize: number, name: string): SampleRange[] {
  const most = gpu.bindingFloatsMax;
  if (samples * sampleSize <= most) return [new SampleRange(0, samples)];
  const step = Math.floor((most - (sampleSize % BINDING_ALIGNMENT === 0 ? 0 : BINDING_ALIGNMENT - 1)) / sampleSize);
  if (step < 1) {
    throw new UserError(
      `a sample of ${name} has ${grouped(4 * sampleSize)} bytes, but this GPU's driver binds at most ${grouped(4 * most)}; ` +
        'lower blockSize or nEmbd, or set engine.name to native',
    );
  }
  const ranges: SampleRange[] = [];
  for (let first = 0; first < samples; first += step) {
    ranges.push(new SampleRange(first, Math.min(step, samples - first)));
  }
  return ranges;
}

const keepsAll: Dropout = { rate: 0, seed: 0, step: 0, firstSample: 0, site: 0 };

/** Values of the dropout parameters for a range that begins at sample `first`; without dropout, what keeps all. */
export function rangeDropout(dropout: Dropout | undefined, first: number): ReturnType<typeof dropoutValues> {
  const values = dropoutValues(dropout ?? keepsAll);
  return { ...values, firstSample: values.firstSample + first };
}
