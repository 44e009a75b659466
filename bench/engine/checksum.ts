/** The checksum by which libraries show that they computed the same product. */

/** As sumOf in bench/peers/productPeer.h, and what it is accurate to. */
export function checksum(values: Float32Array): { sum: number; scale: number } {
  const stride = Math.floor(values.length / 100_000) + 1;
  let sum = 0;
  let scale = 0;
  for (let i = 0; i < values.length; i += stride) {
    const term = values[i]! * ((i % 7) + 1);
    sum += term;
    scale += Math.abs(term);
  }
  return { sum, scale };
}
