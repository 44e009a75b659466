/**
 * Normally distributed numbers for initial weights, with the same bits on every machine.
 *
 * The ziggurat method (Marsaglia and Tsang, 2000, https://www.jstatsoft.org/article/view/v005i08) with 256 layers. A layer
 * is chosen by bits that the magnitude does not use (Doornik, 2005). `Math.exp`, `Math.log` and `Math.cos` may differ in
 * their last bit between platforms, so the few values needed are computed here from +, -, ·, / and sqrt, which
 * IEEE 754 rounds exactly.
 */
import { type RandomKey, randomBits, randomUniform } from '../base/counterRandom.ts';

const layerCount = 256;
/** Where the tail starts, and the area of each layer, for 256 layers (from the paper). */
const tailStart = 3.6541528853610088;
const layerArea = 0.00492867323399;

/** e^-y for y >= 0: halve until small, sum the series, square back. */
function expOfMinus(y: number): number {
  let halvings = 0;
  let small = y;
  while (small > 0.125) {
    small *= 0.5;
    halvings++;
  }
  let result = 1;
  for (let n = 12; n >= 1; n--) result = 1 - (small / n) * result;
  for (; halvings > 0; halvings--) result *= result;
  return result;
}

/** -ln(u) for 0 < u <= 1: doubled until u >= 1/2, then the series of 2·artanh. */
function minusLog(u: number): number {
  let doublings = 0;
  let scaled = u;
  while (scaled < 0.5) {
    scaled *= 2;
    doublings++;
  }
  const z = (scaled - 1) / (scaled + 1);
  const zSquared = z * z;
  let series = 0;
  for (let n = 35; n >= 1; n -= 2) series = series * zSquared + 1 / n;
  return doublings * Math.LN2 - 2 * z * series;
}

/** The normal density, scaled to 1 at 0. */
function density(x: number): number {
  return expOfMinus(0.5 * x * x);
}

/** The layers, widest first: layer i is as wide as edges[i] and extends from heights[i] to heights[i + 1]. */
const { edges, heights } = ziggurat();

function ziggurat(): { edges: Float64Array; heights: Float64Array } {
  const edges = new Float64Array(layerCount + 1); // the last stays 0
  edges[0] = layerArea / density(tailStart); // of the base strip with the tail, treated as a rectangle
  edges[1] = tailStart;
  for (let layer = 2; layer < layerCount; layer++) {
    const previous = edges[layer - 1]!;
    edges[layer] = Math.sqrt(2 * minusLog(layerArea / previous + density(previous)));
  }
  return { edges, heights: edges.map(density) };
}

/** Fills `out` with independent normal numbers of mean 0 and standard deviation `std`: a pure function of `key`. */
export function fillNormal(out: Float32Array, key: RandomKey, std: number): void {
  let counter = 0;
  for (let i = 0; i < out.length; i++) {
    for (;;) {
      const bits = randomBits(key, counter++) | 0;
      const layer = bits & 255; // bits 0-7: the layer; 9-31: a signed fraction of its width
      const x = ((bits >> 9) + 0.5) * 2 ** -22 * edges[layer]!;
      if (Math.abs(x) < edges[layer + 1]!) {
        out[i] = x * std;
        break;
      }
      if (layer === 0) {
        const [tail, used] = sampleTail(key, counter);
        counter = used;
        out[i] = (x < 0 ? -tail : tail) * std;
        break;
      }
      const low = heights[layer]!;
      const y = low + randomUniform(key, counter++) * (heights[layer + 1]! - low);
      if (y < density(x)) {
        out[i] = x * std;
        break;
      }
    }
  }
}

/** A normal number given that it is beyond `tailStart` (Marsaglia, 1964), and the counter after it. */
function sampleTail(key: RandomKey, start: number): [value: number, counter: number] {
  const half = 2 ** -25; // keeps the argument of the logarithm above 0
  let counter = start;
  for (;;) {
    const x = minusLog(randomUniform(key, counter++) + half) / tailStart;
    const y = minusLog(randomUniform(key, counter++) + half);
    if (2 * y > x * x) return [tailStart + x, counter];
  }
}
