import { InvariantError } from '../../../base/errors.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';

export function adamw(_gpu: Gpu, _options: KernelOptions<'adamw'>): void {
  throw new InvariantError('adamw: not written yet');
}
