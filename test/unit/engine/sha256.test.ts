import { expect, it } from 'vitest';
import { sha256Of } from '../../../src/engine/sha256.ts';

it('is that of the bytes of all tensors, one after another', () => {
  const block = Float32Array.of(9, 1, 2, 3);
  expect(sha256Of([block.subarray(1, 2), block.subarray(2)])).toBe(sha256Of([Float32Array.of(1, 2, 3)]));
  expect(sha256Of([block])).not.toBe(sha256Of([block.subarray(1)]));
});

it('has no limit of size', { timeout: 120_000 }, () => {
  const zeros = new Float32Array(2 ** 29 + 1); // pages that nobody writes take no memory
  // As sha256sum says of 2 GiB and 4 bytes of zeros.
  expect(sha256Of([zeros])).toBe('1552c80336a2d8bcf1a1a9be9a1d0d041802f89466965a0ba84b88e14a06f910');
});
