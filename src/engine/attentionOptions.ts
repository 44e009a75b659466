/** What every backend makes of the options of the attention kernels. */
import { InvariantError, invariant } from '../base/errors.ts';
import type { AttentionOptions, CachedKeys } from './kernels.ts';

/** B, T and C of qkv [B, T, 3C]. */
export function attentionShape({ qkv, nHead }: Pick<AttentionOptions, 'qkv' | 'nHead'>) {
  const [b, t, width] = qkv.shape;
  if (
    qkv.shape.length !== 3 ||
    b === undefined ||
    t === undefined ||
    width === undefined ||
    width % (3 * nHead) !== 0
  ) {
    throw new InvariantError(`qkv is [${qkv.shape}]; expected [B, T, 3C] with C a multiple of nHead = ${nHead}`);
  }
  return { b, t, c: width / 3 };
}

/** What `attentionDecode` gets: a cache for each of B sequences. */
export function expectSequences(sequences: readonly CachedKeys[], batchSize: number): void {
  invariant(
    sequences.length === batchSize,
    `attentionDecode: expected the caches of ${batchSize} sequences, received ${sequences.length}`,
  );
}

/** The next `t` tokens of a sequence fit its cache. */
export function expectCache({ keys, values, position }: CachedKeys, t: number, c: number): void {
  const rows = keys.size / c;
  invariant(values.size === keys.size, `attentionDecode: keys are [${keys.shape}], but values [${values.shape}]`);
  invariant(position + t <= rows, `attentionDecode: position ${position + t - 1} is past the cache's ${rows} rows`);
}
