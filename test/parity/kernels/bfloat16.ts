/**
 * bfloat16 on the host, for tests: the upper half of a float32, rounded to nearest, to even between two. Loops, as `from` with a
 * function takes ten times as long, and the suite converts millions of numbers.
 */

export function toBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!;
    halves[i] = Number.isNaN(values[i]) ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return halves;
}

export function fromBfloat16(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
  return new Float32Array(bits.buffer);
}

/** The float32 numbers nearest to `values` that are bfloat16 too. */
export function roundedToBfloat16(values: Float32Array): Float32Array {
  return fromBfloat16(toBfloat16(values));
}
