/** What every backend makes of the options of the linear kernels: which exclude one another, and how the head is cut. */
import { invariant } from '../base/errors.ts';
import type { CachedKeys, KernelOptions } from './kernels.ts';
import type { Tensor } from './tensor.ts';

export function checkLinearForward({
  inp,
  activation,
  residual,
  dropout,
  rowsApart,
}: KernelOptions<'linearForward'>): void {
  invariant(
    activation === undefined || residual === undefined,
    'linearForward: activation and residual exclude each other',
  );
  invariant(dropout === undefined || residual !== undefined, 'linearForward: dropout needs a residual');
  invariant(rowsApart !== true || inp.dtype === 'float32', 'linearForward: rowsApart needs a float32 inp');
}

export function checkLinearBackward(options: KernelOptions<'linearBackward'>): void {
  const { dinp, accumulate, dinpActivation, dweight, dbias } = options;
  checkGradients('linearBackward', dinp, dweight, dbias);
  if (dinpActivation === undefined) return;
  invariant(dinp !== undefined && accumulate !== true, 'linearBackward: dinpActivation needs a dinp that is assigned');
}

/** What `attentionDecode` gets: a cache for each of B sequences. */
export function expectSequences(sequences: readonly CachedKeys[], batchSize: number): void {
  invariant(
    sequences.length === batchSize,
    `attentionDecode: expected the caches of ${batchSize} sequences, received ${sequences.length}`,
  );
}

/** Calling a backward kernel without any requested output is a bug in the caller. */
export function checkGradients(kernel: string, ...gradients: readonly (Tensor | undefined)[]): void {
  invariant(
    gradients.some((gradient) => gradient !== undefined),
    `${kernel}: expected at least one gradient`,
  );
}

/** The most logits that `linearCrossEntropy` holds at once, but at least one row of them. */
const LOGITS_MAX = 1 << 24;

/** How many rows of logits `linearCrossEntropy` holds at once: as many as may be, in chunks of about the same size. */
export function logitsRows(rows: number, vocabSize: number): number {
  const chunks = Math.ceil(rows / Math.max(1, Math.floor(LOGITS_MAX / vocabSize)));
  return Math.ceil(rows / chunks);
}
