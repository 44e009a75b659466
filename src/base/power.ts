/** Powers that every platform rounds alike. */

const bits = 128;

/**
 * base^exponent for a base in [0, 1) and an integer exponent, to 2^-120, then rounded to a double. JavaScript lets each platform round `**`
 * in its own way; replicas on different platforms need the same bits.
 */
export function power(base: number, exponent: number): number {
  let factor = BigInt(Math.floor(base * 2 ** bits));
  let result = 1n << BigInt(bits);
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = (result * factor) >> BigInt(bits);
    factor = (factor * factor) >> BigInt(bits);
  }
  return Number(result) / 2 ** bits;
}
