/**
 * A seeded permutation of the numbers 0 to count - 1 that needs no memory, because it computes the number at each position. A Feistel
 * network over the next power of four is applied until its result is below count ("cycle walking", Black and Rogaway 2002,
 * https://doi.org/10.1007/3-540-45760-7_9). Not for cryptography.
 */
import { type RandomKey, randomBits, randomKey } from '../base/counterRandom.ts';
import { invariant } from '../base/errors.ts';

/** Four rounds are the minimum for random-looking results (Luby and Rackoff 1988, https://doi.org/10.1137/0217022); two more cost little. */
const roundCount = 6;
const countMax = 2 ** 52;

export interface Permutation {
  /** The number at a position; `place` is from 0 to count - 1. */
  at(place: number): number;
}

export function permutation(count: number, key: RandomKey): Permutation {
  invariant(count >= 1 && count <= countMax, `a permutation of 1 to 2^52 numbers, not ${count}`);
  let halfBits = 1;
  while (4 ** halfBits < count) halfBits++;
  const half = 2 ** halfBits;
  const rounds = Array.from({ length: roundCount }, (_, round) => randomKey(key.k0, key.k1, round));
  const encrypt = (value: number): number => {
    let left = Math.floor(value / half);
    let right = value % half;
    for (const round of rounds) {
      // The high bits, each of which depends on the entire input.
      const mixed = randomBits(round, right) >>> (32 - halfBits);
      [left, right] = [right, (left ^ mixed) >>> 0];
    }
    return left * half + right;
  };
  return {
    at(place) {
      let value = encrypt(place);
      while (value >= count) value = encrypt(value);
      return value;
    },
  };
}
