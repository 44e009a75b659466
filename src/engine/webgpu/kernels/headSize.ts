/** The heads that the attention programs are made for. */
import { UserError } from '../../../base/errors.ts';
import { attentionShape } from '../../attentionOptions.ts';
import type { AttentionOptions } from '../../kernels.ts';

/** A thread keeps sums of a row of channels in registers: wider heads do not fit. GPTs have heads of 64 to 256. */
const HEAD_SIZE_MAX = 256;

/** The shape, and the width of rows q|k|v. @throws UserError for heads that are too wide */
export function headShape(options: Pick<AttentionOptions, 'qkv' | 'nHead' | 'nKvHead'>) {
  const shape = attentionShape(options);
  const { headSize } = shape;
  if (headSize > HEAD_SIZE_MAX) {
    throw new UserError(
      `engine webgpu: a head has ${headSize} channels, but at most ${HEAD_SIZE_MAX} are supported: raise model.nHead, or set engine.name to native`,
    );
  }
  return { ...shape, width: shape.c + 2 * shape.kvWidth };
}
