import { InvariantError } from '../../../base/errors.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';

export function crossEntropy(_gpu: Gpu, _options: KernelOptions<'crossEntropy'>): void {
  throw new InvariantError('crossEntropy: not written yet');
}
