import { InvariantError } from '../../../base/errors.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';

export function linearForward(_gpu: Gpu, _options: KernelOptions<'linearForward'>): void {
  throw new InvariantError('linearForward: not written yet');
}

export function linearBackward(_gpu: Gpu, _options: KernelOptions<'linearBackward'>): void {
  throw new InvariantError('linearBackward: not written yet');
}
