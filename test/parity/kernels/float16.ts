/** Rounds to the nearest float16, ties to even, as float32 numbers; too large ones become infinite. Small ones are kept as denormals. */
export function roundedToFloat16(values: Float32Array): Float32Array {
  return values.map((value) => {
    const size = Math.abs(value);
    if (!(size < 65520)) return value / 0;
    // The distance of float16 numbers of this size.
    const step = 2 ** Math.max(-24, Math.floor(Math.log2(size || 1)) - 10);
    const [below, rest] = [Math.floor(size / step), (size / step) % 1];
    const isUp = rest > 0.5 || (rest === 0.5 && below % 2 === 1);
    return Math.sign(value) * (below + Number(isUp)) * step;
  });
}
