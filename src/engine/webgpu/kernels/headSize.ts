/** The heads that the attention programs are made for. */
import { UserError } from '../../../base/errors.ts';
import { attentionShape } from '../../attentionOptions.ts';
import type { AttentionOptions } from '../../kernels.ts';

/** A thread keeps sums of a row of channels in registers: wider heads do not fit. GPTs have heads of 64 to 256. */
const HEAD_SIZE_MAX = 256;

/** B, T, C and the head size. @throws UserError for heads that are too wide */
export function headShape(options: Pick<AttentionOptions, 'qkv' | 'nHead'>) {
  const { b, t, c } = attentionShape(options);
  const headSize = c / options.nHead;
  if (headSize > HEAD_SIZE_MAX) {
    throw new UserError(
      `engine webgpu: a head has ${headSize} channels, but at most ${HEAD_SIZE_MAX} are supported: raise model.nHead, or set engine.name to native`,
    );
  }
  return { b, t, c, headSize };
}
