/** Fewer points for a picture that has fewer pixels. */

/** At least twice the width of any picture. */
export const pointsMax = 2_000;

/**
 * At most `most` of the points: of each of equal ranges of them the lowest and the highest, so that no peak is lost, and the
 * first and the last of all. Points without a finite y stay out where there are too many.
 */
export function downsample<P extends readonly [number, number]>(points: readonly P[], most = pointsMax): readonly P[] {
  if (points.length <= most) return points;
  const inner = points.length - 2;
  const ranges = Math.max(1, Math.floor((most - 2) / 2));
  const kept: P[] = [points[0]!];
  for (let range = 0; range < ranges; range++) {
    const from = 1 + Math.floor((range * inner) / ranges);
    const to = 1 + Math.floor(((range + 1) * inner) / ranges);
    let lowest = -1;
    let highest = -1;
    for (let i = from; i < to; i++) {
      const y = points[i]![1];
      if (!Number.isFinite(y)) continue;
      if (lowest < 0 || y < points[lowest]![1]) lowest = i;
      if (highest < 0 || y > points[highest]![1]) highest = i;
    }
    if (lowest < 0) continue;
    kept.push(points[Math.min(lowest, highest)]!);
    if (lowest !== highest) kept.push(points[Math.max(lowest, highest)]!);
  }
  kept.push(points.at(-1)!);
  return kept;
}
