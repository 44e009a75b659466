/** The checksum of all engines: SHA-256 over the numbers of tensors, in sequence, in their memory layout. */
import { createHash } from 'node:crypto';

/** What is hashed at once: Node refuses more than 2 GiB. */
const PIECE_BYTES = 2 ** 30;

/** @returns 64 hex digits */
export function sha256Of(tensors: Iterable<Float32Array>): string {
  const hash = createHash('sha256');
  for (const { buffer, byteOffset, byteLength } of tensors) {
    for (let at = 0; at < byteLength; at += PIECE_BYTES) {
      hash.update(new Uint8Array(buffer, byteOffset + at, Math.min(PIECE_BYTES, byteLength - at)));
    }
  }
  return hash.digest('hex');
}
