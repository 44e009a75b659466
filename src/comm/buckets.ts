/**
 * Buckets: how one flat gradient is cut into the ranges that the ring reduces, and when each may start. Tensors are known
 * here by index and range only.
 */
import { invariant } from '../base/errors.ts';

/** Elements [start, end) of the flat gradient. */
export interface Bucket {
  readonly start: number;
  readonly end: number;
}

export interface BucketPlan {
  /** In the order in which backward completes them. Together they cover the flat gradient without a gap. */
  readonly buckets: readonly Bucket[];
  /** Each tensor's first and last bucket, which only differ for a tensor larger than a bucket. */
  readonly bucketsOfTensor: readonly { readonly first: number; readonly last: number }[];
}

export interface BucketOptions {
  /** First element of each tensor, ascending, which is the order in which backward completes them. */
  offsets: readonly number[];
  /** Elements of each tensor. What lies between two tensors is padding, and travels with the one before. */
  sizes: readonly number[];
  /** Number of elements in the flat gradient. */
  length: number;
  bucketBytesMax: number;
}

/**
 * Neighbouring tensors share a bucket while they fit; a tensor above the bound is cut into equal pieces. Many small buckets
 * start early but cost a round trip each; few large ones leave nothing to overlap.
 */
export function makeBuckets({ offsets, sizes, length, bucketBytesMax }: BucketOptions): BucketPlan {
  const elementsMax = Math.max(1, Math.floor(bucketBytesMax / Float32Array.BYTES_PER_ELEMENT));
  const buckets: { start: number; end: number }[] = [];
  const bucketsOfTensor: { first: number; last: number }[] = [];
  let open = false; // whether the last bucket takes more tensors
  for (const [i, offset] of offsets.entries()) {
    const start = i === 0 ? 0 : offset;
    const end = offsets[i + 1] ?? length;
    invariant(
      offset >= 0 && offset + (sizes[i] ?? Number.NaN) <= end,
      `tensor ${i} at ${offset} overlaps the one behind it`,
    );
    const current = buckets.at(-1);
    if (current && open && end - current.start <= elementsMax) {
      current.end = end;
    } else {
      const pieces = Math.max(1, Math.ceil((end - start) / elementsMax));
      const pieceElements = Math.ceil((end - start) / pieces);
      for (let piece = 0; piece < pieces; piece++) {
        const from = start + piece * pieceElements;
        buckets.push({ start: from, end: Math.min(end, from + pieceElements) });
      }
      open = pieces === 1;
      bucketsOfTensor.push({ first: buckets.length - pieces, last: buckets.length - 1 });
      continue;
    }
    bucketsOfTensor.push({ first: buckets.length - 1, last: buckets.length - 1 });
  }
  return { buckets, bucketsOfTensor };
}

/** Up to this number of ranks the buckets are those of {@link makeBuckets}. */
const ranksMax = 16;

/**
 * The buckets for a ring of `worldSize` ranks. A bucket is cut into a segment for each rank, and every segment is sent 2(N - 1) times, each time for some
 * 30 µs whatever its size. So above {@link ranksMax} ranks neighbouring buckets become one, up to the size of the largest times
 * worldSize / {@link ranksMax}: segments, and the number of frames of a rank, stay as they are at {@link ranksMax} ranks.
 */
export function bucketsFor(buckets: readonly Bucket[], worldSize: number): readonly Bucket[] {
  return worldSize <= ranksMax ? buckets : joinedBuckets(buckets, worldSize).map(({ bucket }) => bucket);
}

/** The same for the plan. */
export function planFor(plan: BucketPlan, worldSize: number): BucketPlan {
  if (worldSize <= ranksMax) return plan;
  const joined = joinedBuckets(plan.buckets, worldSize);
  const placeOf = joined.flatMap(({ count }, place) => new Array<number>(count).fill(place));
  return {
    buckets: joined.map(({ bucket }) => bucket),
    bucketsOfTensor: plan.bucketsOfTensor.map(({ first, last }) => {
      return { first: placeOf[first] ?? first, last: placeOf[last] ?? last };
    }),
  };
}

/** @returns each joined bucket with the number of its parts */
function joinedBuckets(buckets: readonly Bucket[], worldSize: number): { bucket: Bucket; count: number }[] {
  const longest = buckets.reduce((most, { start, end }) => Math.max(most, end - start), 0);
  const elementsMax = (longest * worldSize) / ranksMax;
  const joined: { bucket: Bucket; count: number }[] = [];
  for (const { start, end } of buckets) {
    const last = joined.at(-1);
    if (last !== undefined && end - last.bucket.start <= elementsMax) {
      joined[joined.length - 1] = { bucket: { start: last.bucket.start, end }, count: last.count + 1 };
    } else joined.push({ bucket: { start, end }, count: 1 });
  }
  return joined;
}

/** Counts down, from one `reset` to the next, the tensors that each bucket still waits for. */
export class BucketTracker {
  readonly #plan: BucketPlan;
  readonly #missing: Int32Array;
  readonly #ready: Uint8Array;

  constructor(plan: BucketPlan) {
    this.#plan = plan;
    this.#missing = new Int32Array(plan.buckets.length);
    this.#ready = new Uint8Array(plan.bucketsOfTensor.length);
    this.reset();
  }

  /** To be called before each step. */
  reset(): void {
    this.#ready.fill(0);
    this.#missing.fill(0);
    for (const { first, last } of this.#plan.bucketsOfTensor) {
      for (let bucket = first; bucket <= last; bucket++) this.#missing[bucket]!++;
    }
  }

  /** The gradient of a tensor is final. Returns the buckets that are complete with it. */
  ready(tensor: number): number[] {
    const range = this.#plan.bucketsOfTensor[tensor];
    invariant(range !== undefined && this.#ready[tensor] === 0, `tensor ${tensor} is reported ready twice or unknown`);
    this.#ready[tensor] = 1;
    const complete: number[] = [];
    for (let bucket = range.first; bucket <= range.last; bucket++) {
      if (--this.#missing[bucket]! === 0) complete.push(bucket);
    }
    return complete;
  }
}
