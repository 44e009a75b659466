import { InvariantError } from '../../../base/errors.ts';
import type { TensorGroup } from '../../tensor.ts';
import type { Gpu } from '../gpu.ts';

export async function squaredNorm(_gpu: Gpu, _group: TensorGroup): Promise<number> {
  throw new InvariantError('squaredNorm: not written yet');
}
