/**
 * Sums over the targets of a batch, which add up over microbatches, ranks and parts of an evaluation. They are
 * divided only at the end, so the result is the mean over all targets for any division of the batch, never a mean of means.
 */

/** Named sums over targets. All are finite unless a run diverges. */
export interface Sums extends Readonly<Record<string, number>> {
  /** The weight of the targets: their number, or the sum of their weights. */
  readonly weight: number;
  /** The sum of the losses, in nats. */
  readonly loss: number;
}

/** The sums over no targets. */
export const noSums: Sums = { weight: 0, loss: 0 };

/** Adds two sums name by name. */
export function addSums(a: Sums, b: Sums): Sums {
  const sums: MutableSums = { ...a };
  addTo(sums, b);
  return sums;
}

/** All parts added to {@link noSums}, one after the other, as by {@link addSums}, without an object for each. */
export function totalOf(parts: readonly Sums[]): Sums {
  const total: MutableSums = { ...noSums };
  for (const part of parts) addTo(total, part);
  return total;
}

type MutableSums = Record<string, number> & { weight: number; loss: number };

/** Names come over the wire; `constructor` is a name that every object inherits. */
function addTo(sums: MutableSums, part: Sums): void {
  for (const name of Object.keys(part)) sums[name] = (Object.hasOwn(sums, name) ? sums[name]! : 0) + part[name]!;
}

/** Means over targets. */
export interface Means {
  /** In nats per target. */
  readonly loss: number;
  /** The means of all other sums, by name. */
  readonly others: Readonly<Record<string, number>>;
}

/** Each sum divided by the weight. Without targets there is no mean, and all are 0. */
export function meansOf({ weight, loss, ...others }: Sums): Means {
  const mean = (sum: number) => (weight > 0 ? sum / weight : 0);
  return {
    loss: mean(loss),
    others: Object.fromEntries(Object.entries(others).map(([name, sum]) => [name, mean(sum)])),
  };
}
