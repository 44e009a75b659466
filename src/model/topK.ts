/**
 * Selects the largest of many numbers without sorting them: a histogram shows in which bin the selection ends, and only that bin is
 * ranked. Used for sampling, because sorting a vocabulary of 50,000 tokens takes as long as computing its logits.
 */

const BINS = 2048;
/** Values further below the largest one share a bin. */
const SPAN_MOST = 64;
/** One of this many values is looked at to guess how large the selected ones are. */
const SAMPLE_STEP = 16;

/**
 * Positions, ascending, of the largest of `values`: the smallest number that together reach `target`, where each counts 1 or its share in `shares`; all
 * if they do not reach it. If values are equal, the first counts as larger. None may be NaN.
 */
export function selectTop(values: Float32Array, target: number, shares?: Float64Array): Uint32Array {
  const few = shares === undefined ? candidates(values, target) : undefined;
  if (few === undefined) return selectByHistogram(values, target, shares);
  const selected = selectByHistogram(few.values, target, undefined);
  for (let i = 0; i < selected.length; i++) selected[i] = few.positions[selected[i]!]!;
  return selected;
}

/**
 * The values among which the `count` largest are, with their positions, where these are few of many: all from a value on that a sample
 * suggests. One comparison for each value is a fraction of what the histogram costs. Undefined where it would save nothing, or where
 * the sample misleads.
 */
function candidates(values: Float32Array, count: number): { positions: Uint32Array; values: Float32Array } | undefined {
  const sample = new Float32Array(Math.floor(values.length / SAMPLE_STEP));
  // Twice as many as are wanted: fewer hardly ever turn up then.
  const rank = Math.ceil((2 * count) / SAMPLE_STEP) + 8;
  if (4 * rank > sample.length) return undefined;
  for (let i = 0; i < sample.length; i++) sample[i] = values[i * SAMPLE_STEP]!;
  let least = Number.POSITIVE_INFINITY;
  for (const i of selectByHistogram(sample, rank, undefined)) least = Math.min(least, sample[i]!);
  const positions = new Uint32Array(values.length);
  let found = 0;
  for (let i = 0; i < values.length; i++) if (values[i]! >= least) positions[found++] = i;
  if (found < count || found > values.length / 2) return undefined;
  const among = new Float32Array(found);
  for (let i = 0; i < found; i++) among[i] = values[positions[i]!]!;
  return { positions, values: among };
}

function selectByHistogram(values: Float32Array, target: number, shares: Float64Array | undefined): Uint32Array {
  const bins = binsOf(values);
  if (shares === undefined && target >= values.length) return positionsOf(bins, 0, BINS);
  const sums = new Float64Array(BINS);
  for (let i = 0; i < bins.length; i++) sums[bins[i]!]! += shares === undefined ? 1 : shares[i]!;
  let edge = BINS - 1;
  let reached = 0;
  while (edge > 0 && reached + sums[edge]! < target) reached += sums[edge--]!;

  const ranked = positionsOf(bins, edge, edge).sort((a, b) => values[b]! - values[a]! || a - b);
  for (const i of ranked) {
    if (reached >= target) break;
    reached += shares === undefined ? 1 : shares[i]!;
    bins[i] = BINS;
  }
  return positionsOf(bins, edge + 1, BINS);
}

/** In ascending order. */
function positionsOf(bins: Uint16Array, from: number, to: number): Uint32Array {
  const positions = new Uint32Array(bins.length);
  let count = 0;
  for (let i = 0; i < bins.length; i++) if (bins[i]! >= from && bins[i]! <= to) positions[count++] = i;
  return positions.subarray(0, count);
}

/** A larger value is never in a lower bin. */
function binsOf(values: Float32Array): Uint16Array {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < values.length; i++) {
    if (values[i]! < low) low = values[i]!;
    if (values[i]! > high) high = values[i]!;
  }
  low = Math.max(low, high - SPAN_MOST);
  const scale = high > low ? (BINS - 1) / (high - low) : 0;
  const bins = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) bins[i] = values[i]! > low ? (values[i]! - low) * scale : 0;
  return bins;
}
