import { InvariantError } from '../../../base/errors.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';

export function attentionDecode(_gpu: Gpu, _options: KernelOptions<'attentionDecode'>): void {
  throw new InvariantError('attentionDecode: not written yet');
}
