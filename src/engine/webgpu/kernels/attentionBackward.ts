import { InvariantError } from '../../../base/errors.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';

export function attentionBackward(_gpu: Gpu, _options: KernelOptions<'attentionBackward'>): void {
  throw new InvariantError('attentionBackward: not written yet');
}
