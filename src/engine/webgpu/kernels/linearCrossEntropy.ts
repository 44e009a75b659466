import { InvariantError } from '../../../base/errors.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';

export function linearCrossEntropy(_gpu: Gpu, _options: KernelOptions<'linearCrossEntropy'>): void {
  throw new InvariantError('linearCrossEntropy: not written yet');
}
