/**
 * Float32 operations of x86 with denormals as zero, on JavaScript numbers: what the WebGPU engine's integer arithmetic must return. A
 * float64 quotient or root of float32 numbers, rounded again to float32, is the correctly rounded one (Figueroa, "When is double rounding
 * innocuous?", 1995), and a float64 product is exact. A fused sum is added in integers.
 */
const [word, double] = [new DataView(new ArrayBuffer(4)), new DataView(new ArrayBuffer(8))];

const smallestNormal = 2 ** -126;

export const exactFloat = {
  multiply: (a, b) => bitsOf(operand(a) * operand(b)),
  divide: (a, b) => bitsOf(operand(a) / operand(b)),
  squareRoot: (a) => bitsOf(Math.sqrt(operand(a))),
  multiplyAdd: (a, b, c) => bitsOf(oddSum(operand(a) * operand(b), operand(c))),
} as const satisfies Record<string, (a: number, b: number, c: number) => number>;

/** The number that the bits of a float32 stand for; a denormal is 0. */
function operand(bits: number): number {
  word.setUint32(0, bits);
  const value = word.getFloat32(0);
  return Math.abs(value) < smallestNormal ? 0 * Math.sign(value) : value;
}

/** The bits of a number rounded to float32. It is 0 if it is below the smallest normal number after rounding to 24 bits. */
function bitsOf(value: number): number {
  let rounded = Math.fround(value);
  if (Math.abs(value) < 2 * smallestNormal) {
    // Scaled, so that float32 keeps all 24 bits.
    const scaled = Math.fround(value * 2 ** 100);
    rounded = Math.abs(scaled) < smallestNormal * 2 ** 100 ? 0 * Math.sign(value) : scaled / 2 ** 100;
  }
  if (Number.isNaN(rounded)) return 0x7fc00000;
  word.setFloat32(0, rounded);
  return word.getUint32(0);
}

/**
 * The exact sum, reduced to about 50 bits of which the last is 1 if any lower bit is: rounding it to 24 bits is rounding the exact sum. Both
 * terms are multiples of 2^-298.
 */
function oddSum(product: number, addend: number): number {
  const sum = product + addend;
  if (!Number.isFinite(sum) || product === 0 || addend === 0) return sum;
  const exact = integerOf(product) + integerOf(addend);
  if (exact === 0n) return sum;
  double.setFloat64(0, sum);
  // The exact sum has exponent + 298 + 1 bits, or one more or less.
  const exponent = ((double.getUint16(0) >> 4) & 0x7ff) - 1023;
  const excess = exponent + 298 - 50;
  if (excess <= 0) return Number(exact) * 2 ** -298;
  const magnitude = exact < 0n ? -exact : exact;
  const kept = magnitude >> BigInt(excess);
  const odd = kept << BigInt(excess) === magnitude ? kept : kept | 1n;
  return Math.sign(sum) * Number(odd) * 2 ** (excess - 298);
}

/** value · 2^298 */
function integerOf(value: number): bigint {
  double.setFloat64(0, value);
  const bits = double.getBigUint64(0);
  const exponent = Number((bits >> 52n) & 0x7ffn) - 1023 - 52 + 298;
  const significand = (bits & 0xfffffffffffffn) | 0x10000000000000n;
  const magnitude = exponent >= 0 ? significand << BigInt(exponent) : significand >> BigInt(-exponent);
  return value < 0 ? -magnitude : magnitude;
}
