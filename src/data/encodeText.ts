/** A text in memory to tokens in memory, without keeping the process from other work. */
import { createHash } from 'node:crypto';
import type { TokenArray } from './tokenArray.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';

/**
 * Encodes and lets timers and sockets run between slices.
 * @param onProgress told how many UTF-16 units are done
 */
export async function encodeInSlices(
  tokenizer: Tokenizer,
  text: string,
  onProgress: (units: number) => void,
): Promise<TokenArray> {
  const steps = tokenizer.encodeSteps(text);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    onProgress(step.value);
    await new Promise((resume) => setImmediate(resume));
  }
}

/** Lengths first, so that moving a boundary changes the hash. Lower-case hex. */
export function hashTokens(arrays: readonly TokenArray[]): string {
  const hash = createHash('sha256');
  hash.update(arrays.map((array) => `${array.BYTES_PER_ELEMENT}x${array.length}`).join());
  for (const array of arrays) hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return hash.digest('hex');
}
