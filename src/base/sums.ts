/**
 * What a loss comes to: sums over the targets of a batch, which add up over microbatches, ranks and parts of an evaluation. A mean is
 * made of them at the very end, so that it is the mean over all targets however these were divided: never a mean of means.
 */

/** Named sums over targets. All are finite in a run that goes well. */
export interface Sums extends Readonly<Record<string, number>> {
  /** What the targets count: their number, or the sum of their weights. */
  readonly weight: number;
  /** Of the losses, in nats. */
  readonly loss: number;
}

/** Of no targets. */
export const noSums: Sums = { weight: 0, loss: 0 };

/** Name by name. */
export function addSums(a: Sums, b: Sums): Sums {
  const sums: Record<string, number> & { weight: number; loss: number } = { ...a };
  // Names come over the wire: `constructor` is one that every object inherits.
  for (const [name, value] of Object.entries(b)) sums[name] = (Object.hasOwn(sums, name) ? sums[name]! : 0) + value;
  return sums;
}

/** Means over targets. */
export interface Means {
  /** In nats a target. */
  readonly loss: number;
  /** The means of all other sums, by their names. */
  readonly others: Readonly<Record<string, number>>;
}

/** Each sum over the weight. Over no targets there is no mean: all are 0. */
export function meansOf({ weight, loss, ...others }: Sums): Means {
  const mean = (sum: number) => (weight > 0 ? sum / weight : 0);
  return {
    loss: mean(loss),
    others: Object.fromEntries(Object.entries(others).map(([name, sum]) => [name, mean(sum)])),
  };
}
