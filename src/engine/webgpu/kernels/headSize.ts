/** The shapes that the attention programs are made for, and how their operands are bound. */
import { UserError } from '../../../base/errors.ts';
import { type AttentionShape, attentionShape, type OperandRows } from '../../attentionOptions.ts';
import type { Tensor } from '../../tensor.ts';
import type { Gpu } from '../gpu.ts';
import { type GpuTensor, gpuTensor } from '../memory.ts';
import { type SampleRange, sampleRanges } from './sampleRanges.ts';

/** A thread keeps sums of a row of channels in registers: wider heads do not fit. GPTs have heads of 64 to 256. */
const HEAD_SIZE_MAX = 256;

/** The shape, and the width of rows q|k|v. @throws UserError for heads that are too wide */
export function headShape(options: Parameters<typeof attentionShape>[0]) {
  return widthOfRows(attentionShape(options), 1);
}

/** The same for a shape, where the rows have keys and values or are only q. */
export function widthOfRows(shape: AttentionShape, own: 0 | 1) {
  const { headSize } = shape;
  if (headSize > HEAD_SIZE_MAX) {
    throw new UserError(
      `engine webgpu: a head has ${headSize} channels, but at most ${HEAD_SIZE_MAX} are supported: raise model.nHead, or set engine.name to native`,
    );
  }
  return { ...shape, width: shape.c + own * 2 * shape.kvWidth };
}

/** The operands, or with the name 'dq' their gradients, as tensors of this engine. */
export function gpuRows(rows: OperandRows<Tensor>, name: 'q' | 'dq'): OperandRows<GpuTensor> {
  return { ...rows, q: gpuTensor(rows.q, name), kv: gpuTensor(rows.kv, `${name.slice(0, -1)}kv`) };
}

/** All samples in ranges of which the operands fit a binding. */
export function attentionRanges(
  gpu: Gpu,
  { b, tq, tk }: AttentionShape,
  { queryStride, keyStride }: OperandRows<GpuTensor>,
): SampleRange[] {
  return sampleRanges(gpu, b, Math.max(tq * queryStride, tk * keyStride), 'qkv');
}
