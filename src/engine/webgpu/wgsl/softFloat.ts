/**
 * Float32 arithmetic in integers, for kernels whose bits must be equal on every GPU. WGSL allows a device to round a quotient in its
 * own way, to fuse a product with a sum, and to flush small numbers. Integer operations have one result.
 *
 * A number is a u32 with the bits of a float32. The functions return what x86 returns with denormals as zero (DAZ and FTZ):
 * - rounded to nearest, ties to even (IEEE 754-2019, 4.3.1);
 * - a denormal operand reads as 0 with its sign;
 * - a result that is below the smallest normal number after rounding to 24 bits becomes 0 with its sign (7.5: tininess after rounding);
 * - every NaN is 0x7fc00000, because IEEE 754 leaves the payload open (6.2.3).
 *
 * An exponent is biased by 127, as in the bits. A significand has 24 bits, including the leading one.
 */

/** WGSL expressions of float32 numbers in [1, 4), to a few units in the last place: integers correct them. */
export interface Estimates {
  /** x / y */
  readonly quotient: string;
  /** √x */
  readonly root: string;
}

export function softFloatOn(estimates: Estimates): string {
  return `
const signBit = 0x80000000u;
const infinity = 0x7f800000u;
const smallestNormal = 0x00800000u;
const notANumber = 0x7fc00000u;
const one = 0x3f800000u;

fn magnitudeOf(a: u32) -> u32 { return a & 0x7fffffffu; }
fn exponentOf(a: u32) -> i32 { return i32((a >> 23u) & 0xffu); }
// The argument is a normal number.
fn significandOf(a: u32) -> u32 { return (a & 0x7fffffu) | 0x800000u; }

// The bits of significand · 2^(exponent - 127 - 23), for a significand in [2^23, 2^24]: infinity if it is too large, 0 if too small.
fn pack(exponent: i32, significand: u32) -> u32 {
  // The leading one of the significand adds 1 to the field of the exponent, a significand of 2^24 adds 2. The field is clamped, and
  // shifted by 2 so that no sum is negative.
  let bits = (u32(clamp(exponent + 1, 0, 257)) << 23u) + significand;
  let shift = 2u << 23u;
  return select(min(bits - shift, infinity), 0u, bits < smallestNormal + shift);
}

// Rounds a significand of 32 bits, whose leading one is bit 31. Bit 0 is set if any lower bit would be.
fn roundAndPack(exponent: i32, significand: u32) -> u32 {
  let kept = significand >> 8u;
  let roundsUp = (significand & 0xffu) + (kept & 1u) > 0x80u;
  return pack(exponent, kept + u32(roundsUp));
}

// The exact product of two significands: its upper 32 bits and its lower 16. b is split into bytes, so each sum fits in 32 bits.
fn productOf(a: u32, b: u32) -> vec2u {
  let low = a * (b & 0xffu);
  let middle = a * ((b >> 8u) & 0xffu) + (low >> 8u);
  let high = a * (b >> 16u) + (middle >> 8u);
  return vec2u(high, ((middle & 0xffu) << 8u) | (low & 0xffu));
}

// a · b
fn multiply(a: u32, b: u32) -> u32 {
  let sign = (a ^ b) & signBit;
  let larger = max(magnitudeOf(a), magnitudeOf(b));
  let smaller = min(magnitudeOf(a), magnitudeOf(b));
  if (larger >= infinity) {
    return select(sign | infinity, notANumber, larger > infinity || smaller < smallestNormal);
  }
  if (smaller < smallestNormal) { return sign; }
  let product = productOf(significandOf(a), significandOf(b));
  // The leading one is bit 31 or 30 of the upper word.
  let shift = 1u - (product.x >> 31u);
  let significand = (product.x | u32(product.y != 0u)) << shift;
  return sign | roundAndPack(exponentOf(a) + exponentOf(b) - 126 - i32(shift), significand);
}

fn multiplyAddSpecial(a: u32, b: u32, c: u32) -> u32 {
  let larger = max(magnitudeOf(a), magnitudeOf(b));
  let smaller = min(magnitudeOf(a), magnitudeOf(b));
  let product = ((a ^ b) & signBit) | infinity;
  if (max(larger, magnitudeOf(c)) > infinity) { return notANumber; }
  if (larger < infinity) { return c; }
  let isInvalid = smaller < smallestNormal || (magnitudeOf(c) == infinity && c != product);
  return select(product, notANumber, isInvalid);
}

// a · b + c, rounded once
fn multiplyAdd(a: u32, b: u32, c: u32) -> u32 {
  if (max(max(magnitudeOf(a), magnitudeOf(b)), magnitudeOf(c)) >= infinity) { return multiplyAddSpecial(a, b, c); }
  let productSign = (a ^ b) & signBit;
  let addendIsZero = magnitudeOf(c) < smallestNormal;
  if (min(magnitudeOf(a), magnitudeOf(b)) < smallestNormal) { return select(c, productSign & c, addendIsZero); }
  // Both terms as integers of two words. Bit 61 is 1.0: the product is below 4, and the sum below 8.
  let product = productOf(significandOf(a), significandOf(b));
  let productHigh = product.x >> 1u;
  let productLow = (product.x << 31u) | (product.y << 15u);
  let productExponent = exponentOf(a) + exponentOf(b) - 127;
  let addendHigh = select(significandOf(c) << 6u, 0u, addendIsZero);
  let addendExponent = exponentOf(c);

  let addendIsGreater = addendExponent > productExponent;
  let greaterHigh = select(productHigh, addendHigh, addendIsGreater);
  let greaterLow = select(productLow, 0u, addendIsGreater);
  var otherHigh = select(addendHigh, productHigh, addendIsGreater);
  var otherLow = select(0u, productLow, addendIsGreater);

  // Shift the other term to the greater exponent. Bit 0 is set if any lost bit was. (Hauser's Berkeley SoftFloat calls this jamming.) Bits
  // are lost only if the exponents differ by 16 or more; then bit 0 is far below the last bit of the result and decides only ties.
  let distance = u32(min(abs(productExponent - addendExponent), 63));
  let movesWord = distance >= 32u;
  var lost = select(0u, otherLow, movesWord);
  otherLow = select(otherLow, otherHigh, movesWord);
  otherHigh = select(otherHigh, 0u, movesWord);
  let shift = distance & 31u;
  lost |= otherLow & ((1u << shift) - 1u);
  otherLow = (otherLow >> shift) | ((otherHigh << 1u) << (31u - shift)) | u32(lost != 0u);
  otherHigh = otherHigh >> shift;

  // Add in two's complement. A negative difference changes the sign.
  let isDifference = ((productSign ^ c) & signBit) != 0u;
  let flip = select(0u, 0xffffffffu, isDifference);
  let addedLow = (otherLow ^ flip) + u32(isDifference);
  let addedHigh = (otherHigh ^ flip) + u32(isDifference && otherLow == 0u);
  var low = greaterLow + addedLow;
  var high = greaterHigh + addedHigh + u32(low < addedLow);
  let isNegative = isDifference && (high & signBit) != 0u;
  if (isNegative) {
    high = ~high + u32(low == 0u);
    low = ~low + 1u;
  }
  if ((high | low) == 0u) { return 0u; }
  let sign = select(productSign, c & signBit, addendIsGreater) ^ select(0u, signBit, isNegative);

  // Shift the leading one to bit 63.
  let isShort = high == 0u;
  high = select(high, low, isShort);
  low = select(low, 0u, isShort);
  let leadingZeros = countLeadingZeros(high);
  let significand = (high << leadingZeros) | ((low >> 1u) >> (31u - leadingZeros)) | u32((low << leadingZeros) != 0u);
  let exponent = max(productExponent, addendExponent) + 2 - i32(leadingZeros) - select(0, 32, isShort);
  return sign | roundAndPack(exponent, significand);
}

fn divideSpecial(a: u32, b: u32) -> u32 {
  let sign = (a ^ b) & signBit;
  let dividend = magnitudeOf(a);
  let divisor = magnitudeOf(b);
  let isInvalid = max(dividend, divisor) > infinity || min(dividend, divisor) == infinity || max(dividend, divisor) < smallestNormal;
  let isInfinite = dividend == infinity || divisor < smallestNormal;
  return select(select(sign, sign | infinity, isInfinite), notANumber, isInvalid);
}

// a / b. A float division estimates the quotient, and the exact integer remainder corrects it. WGSL promises an estimate within 2.5 units
// in the last place. There are no ties: a quotient of two 24-bit numbers is never halfway between two others (Muller et al., Handbook
// of Floating-Point Arithmetic).
fn divide(a: u32, b: u32) -> u32 {
  let isSpecial = max(magnitudeOf(a), magnitudeOf(b)) >= infinity || min(magnitudeOf(a), magnitudeOf(b)) < smallestNormal;
  if (isSpecial) { return divideSpecial(a, b); }
  let dividend = significandOf(a);
  let divisor = i32(significandOf(b));
  // Shift the dividend by 23 or 24 bits, so that the quotient is in [2^23, 2^24). The estimate is in [1/2, 2]: its bits, less a
  // constant, are the quotient.
  let isLess = dividend < u32(divisor);
  let x = bitcast<f32>(one | (a & 0x7fffffu));
  let y = bitcast<f32>(one | (b & 0x7fffffu));
  var quotient = bitcast<i32>(${estimates.quotient}) - select(0x3f000000, 0x3e800000, isLess);
  // Both terms have 48 bits, but their difference fits in the lower 32.
  var remainder = i32(dividend << select(23u, 24u, isLess)) - quotient * divisor;
  while (2 * remainder > divisor) {
    quotient += 1;
    remainder -= divisor;
  }
  while (2 * remainder < -divisor) {
    quotient -= 1;
    remainder += divisor;
  }
  return ((a ^ b) & signBit) | pack(exponentOf(a) - exponentOf(b) + select(127, 126, isLess), u32(quotient));
}

fn squareRootSpecial(a: u32) -> u32 {
  if (magnitudeOf(a) < smallestNormal) { return a & signBit; }
  return select(notANumber, infinity, a == infinity);
}

// √a, from an estimate and the exact remainder, as in divide. There are no ties either.
fn squareRoot(a: u32) -> u32 {
  if (a < smallestNormal || a >= infinity) { return squareRootSpecial(a); }
  // Shift the significand by 23 or 24 bits, so that the exponent is even and the root is in [2^23, 2^24). 127 is odd, so the exponent is
  // odd if its biased form is even.
  let isOdd = (a & smallestNormal) == 0u;
  let x = bitcast<f32>((a & 0x7fffffu) | select(one, one + smallestNormal, isOdd));
  var root = bitcast<i32>(${estimates.root}) - 0x3f000000;
  var remainder = i32(significandOf(a) << select(23u, 24u, isOdd)) - root * root;
  // (root ± 1/2)² = root² ± root + 1/4
  while (remainder > root) {
    remainder -= 2 * root + 1;
    root += 1;
  }
  while (remainder <= -root) {
    remainder += 2 * root - 1;
    root -= 1;
  }
  return pack((exponentOf(a) + 127) >> 1u, u32(root));
}
`;
}

/** The functions multiply, multiplyAdd, divide and squareRoot, as WGSL. */
export const softFloat = softFloatOn({ quotient: 'x / y', root: 'sqrt(x)' });
