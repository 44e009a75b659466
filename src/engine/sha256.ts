/** The checksum that engines share: SHA-256 over the numbers of tensors, one after another, as they lie in memory. */
import { createHash } from 'node:crypto';

/** @returns 64 hex digits */
export function sha256Of(tensors: Iterable<Float32Array>): string {
  const hash = createHash('sha256');
  for (const { buffer, byteOffset, byteLength } of tensors) hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  return hash.digest('hex');
}
