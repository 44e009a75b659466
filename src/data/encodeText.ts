/** Encodes a text in memory without blocking the process. */
import { createHash } from 'node:crypto';
import { newTokenArray, type TokenArray } from './tokenArray.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';

/**
 * Encodes, and lets timers and sockets run between slices.
 * @param onProgress called with the number of UTF-16 units done
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

/** {@link encodeInSlices} of a complete text, with the begin tokens of the tokenizer before it. */
export async function encodeDocument(
  tokenizer: Tokenizer,
  text: string,
  onProgress: (units: number) => void,
): Promise<TokenArray> {
  const tokens = await encodeInSlices(tokenizer, text, onProgress);
  const { beginTokens = [], vocabSize } = tokenizer;
  if (beginTokens.length === 0) return tokens;
  const all = newTokenArray(vocabSize, beginTokens.length + tokens.length);
  all.set(beginTokens);
  all.set(tokens, beginTokens.length);
  return all;
}

/** Hashes the lengths first, so that moving the boundary changes the hash. Lower-case hex. */
export function hashTokens(arrays: readonly TokenArray[]): string {
  const hash = createHash('sha256');
  hash.update(arrays.map((array) => `${array.BYTES_PER_ELEMENT}x${array.length}`).join());
  for (const array of arrays) hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return hash.digest('hex');
}
