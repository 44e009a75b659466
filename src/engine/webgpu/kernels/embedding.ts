import { InvariantError } from '../../../base/errors.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';

export function embeddingForward(_gpu: Gpu, _options: KernelOptions<'embeddingForward'>): void {
  throw new InvariantError('embeddingForward: not written yet');
}

export function embeddingBackward(_gpu: Gpu, _options: KernelOptions<'embeddingBackward'>): void {
  throw new InvariantError('embeddingBackward: not written yet');
}
