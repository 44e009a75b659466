/**
 * A counter-based random generator: the value at an index is a pure function of a key and that index, so any worker can
 * compute any element in any order and nothing is stored. Used for dropout masks and for the order of samples.
 *
 * The mixer is the 32-bit finalizer "lowbias32" found by Chris Wellons' hash prospector
 * (https://nullprogram.com/blog/2018/07/31/), applied twice with a key word before each application. The engines
 * repeat it bit for bit (native/random.h), which the parity tests check.
 */

/** Two 32-bit words that select one random stream. */
export interface RandomKey {
  /** First word. */
  readonly k0: number;
  /** Second word. */
  readonly k1: number;
}

/** lowbias32: a bijection of the 32-bit integers with nearly ideal avalanche. */
export function mix32(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** Derives a key from any number of integers; the order matters. */
export function randomKey(...words: readonly number[]): RandomKey {
  return extendKey({ k0: 0x9e3779b9, k1: 0x85ebca6b }, ...words);
}

/** The key of the integers that `key` was derived from and these: extendKey(randomKey(a), b) is randomKey(a, b). */
export function extendKey({ k0, k1 }: RandomKey, ...words: readonly number[]): RandomKey {
  for (const word of words) {
    k0 = mix32(k0 ^ (word >>> 0));
    k1 = mix32((k1 + Math.imul(word, 0x27d4eb2f)) ^ k0);
  }
  return { k0: k0 >>> 0, k1: k1 >>> 0 };
}

/** The 32 random bits at `index` of the stream `key`. */
export function randomBits(key: RandomKey, index: number): number {
  return mix32(mix32(index ^ key.k0) + key.k1);
}

/** A number in [0, 1) with 24 random bits: exactly representable in float32. */
export function randomUniform(key: RandomKey, index: number): number {
  return (randomBits(key, index) >>> 8) * 2 ** -24;
}
