/** The payload of `assign` and `evaluate`: the tokens and targets of samples, as int32 numbers of this machine's byte order. */
import { PeerError } from '../base/errors.ts';

/** Tokens and targets, each [samples, blockSize]. */
export interface Batch {
  readonly tokens: Int32Array;
  readonly targets: Int32Array;
}

/** The payload of `assign` and `evaluate`. */
export function encodeBatch(batch: Batch): Uint8Array {
  const both = new Int32Array(batch.tokens.length + batch.targets.length);
  both.set(batch.tokens);
  both.set(batch.targets, batch.tokens.length);
  return new Uint8Array(both.buffer);
}

/** @throws PeerError if the size is wrong or a token is outside the vocabulary */
export function decodeBatch(
  payload: Uint8Array | undefined,
  { sampleCount, blockSize, vocabSize }: { sampleCount: number; blockSize: number; vocabSize: number },
): Batch {
  const size = sampleCount * blockSize;
  if ((payload?.byteLength ?? 0) !== size * 8) {
    throw new PeerError(
      `expected ${size * 8} bytes of tokens (${sampleCount} samples), received ${payload?.byteLength ?? 0}`,
    );
  }
  const both = new Int32Array(new Uint8Array(payload ?? []).buffer);
  const tokens = both.subarray(0, size);
  const targets = both.subarray(size);
  for (let i = 0; i < size; i++) {
    const token = tokens[i] ?? -1;
    const target = targets[i] ?? -2;
    if (token < 0 || token >= vocabSize || target < -1 || target >= vocabSize) {
      throw new PeerError(`expected tokens below ${vocabSize}, received token ${token}, target ${target}`);
    }
  }
  return { tokens, targets };
}
