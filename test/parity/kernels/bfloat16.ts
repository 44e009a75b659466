/** bfloat16 on the host, for tests: the upper half of a float32, rounded to nearest, to even between two. */

export function toBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (b, i) => {
    if (Number.isNaN(values[i])) return (b >>> 16) | 0x40;
    return (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  });
}

export function fromBfloat16(halves: Uint16Array): Float32Array {
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}

/** The float32 numbers nearest to `values` that are bfloat16 too. */
export function roundedToBfloat16(values: Float32Array): Float32Array {
  return fromBfloat16(toBfloat16(values));
}
