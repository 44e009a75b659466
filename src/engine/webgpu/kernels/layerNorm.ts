import { InvariantError } from '../../../base/errors.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Gpu } from '../gpu.ts';

export function layerNormForward(_gpu: Gpu, _options: KernelOptions<'layerNormForward'>): void {
  throw new InvariantError('layerNormForward: not written yet');
}

export function layerNormBackward(_gpu: Gpu, _options: KernelOptions<'layerNormBackward'>): void {
  throw new InvariantError('layerNormBackward: not written yet');
}
