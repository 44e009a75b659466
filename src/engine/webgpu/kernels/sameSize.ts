/** The check that most element-wise kernels make. */
import { invariant } from '../../../base/errors.ts';
import type { Tensor } from '../../tensor.ts';
import { type GpuTensor, gpuTensor } from '../memory.ts';

/** The tensor, which has as many elements as `other`. */
export function sameSize(tensor: Tensor, name: string, other: Tensor): GpuTensor {
  invariant(tensor.size === other.size, `${name} is [${tensor.shape}]; expected ${other.size} elements`);
  return gpuTensor(tensor, name);
}
