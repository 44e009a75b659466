/** The checks that most kernels make. */
import { invariant } from '../../../base/errors.ts';
import type { Tensor } from '../../tensor.ts';
import { type GpuTensor, gpuTensor } from '../memory.ts';

/** The tensor, which has this number of elements. */
export function ofSize(tensor: Tensor, name: string, size: number): GpuTensor {
  invariant(tensor.size === size, `${name} is [${tensor.shape}]; expected ${size} elements`);
  return gpuTensor(tensor, name);
}

/** The tensor, which has as many elements as `other`. */
export function sameSize(tensor: Tensor, name: string, other: Tensor): GpuTensor {
  return ofSize(tensor, name, other.size);
}
