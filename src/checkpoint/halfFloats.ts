/** Exact conversion of float16 and bfloat16, the formats of many published weights, to float32. Bytes are little-endian. */

/** bfloat16 is the upper half of a float32. */
export function widenBfloat16(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(2 * bytes.length);
  for (let i = 0; i < bytes.length; i += 2) {
    out[2 * i + 2] = bytes[i]!;
    out[2 * i + 3] = bytes[i + 1]!;
  }
  return out;
}

/** IEEE 754 binary16, including subnormals, infinities and NaN. */
export function widenFloat16(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(2 * bytes.length);
  const view = new DataView(out.buffer);
  for (let i = 0; i < bytes.length; i += 2) {
    const half = bytes[i]! | (bytes[i + 1]! << 8);
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >>> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0x1f) {
      view.setUint32(2 * i, (((half & 0x8000) << 16) | 0x7f800000 | (fraction << 13)) >>> 0, true);
    } else {
      const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
      view.setFloat32(2 * i, sign * magnitude, true);
    }
  }
  return out;
}
