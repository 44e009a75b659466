import { InvariantError } from '../../../base/errors.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';

export function attentionForward(_gpu: Gpu, _options: KernelOptions<'attentionForward'>): void {
  throw new InvariantError('attentionForward: not written yet');
}
