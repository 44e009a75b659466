/** What every backend makes of the options of the attention kernels. */
import { InvariantError, invariant } from '../base/errors.ts';
import type { AttentionOptions, CachedKeys } from './kernels.ts';

/** The heads of an attention: `c` channels of queries and results, `kvWidth` of keys and of values. */
export interface AttentionShape {
  readonly b: number;
  readonly t: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headSize: number;
  readonly c: number;
  readonly kvWidth: number;
}

/** The shape of qkv [B, T, (NH + 2 NKV)·HS]. */
export function attentionShape(options: Pick<AttentionOptions, 'qkv' | 'nHead' | 'nKvHead'>): AttentionShape {
  const { qkv, nHead, nKvHead = nHead } = options;
  const [b, t, width] = qkv.shape;
  if (nHead % nKvHead !== 0) throw new InvariantError(`nKvHead = ${nKvHead} does not divide nHead = ${nHead}`);
  const headSize = (width ?? 0) / (nHead + 2 * nKvHead);
  if (qkv.shape.length !== 3 || b === undefined || t === undefined || !Number.isInteger(headSize)) {
    const heads = `nHead = ${nHead} and nKvHead = ${nKvHead}`;
    throw new InvariantError(`qkv is [${qkv.shape}]; expected [B, T, (NH + 2 NKV)·HS] with ${heads}`);
  }
  return { b, t, nHead, nKvHead, headSize, c: nHead * headSize, kvWidth: nKvHead * headSize };
}

/** What `attentionDecode` gets: a cache for each of B sequences. */
export function expectSequences(sequences: readonly CachedKeys[], batchSize: number): void {
  invariant(
    sequences.length === batchSize,
    `attentionDecode: expected the caches of ${batchSize} sequences, received ${sequences.length}`,
  );
}

/** The next `t` tokens of a sequence fit its cache. */
export function expectCache({ keys, values, position }: CachedKeys, t: number, kvWidth: number): void {
  const rows = keys.size / kvWidth;
  invariant(values.size === keys.size, `attentionDecode: keys are [${keys.shape}], but values [${values.shape}]`);
  invariant(position + t <= rows, `attentionDecode: position ${position + t - 1} is past the cache's ${rows} rows`);
}
