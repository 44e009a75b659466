/**
 * Which example is at each place of a run: pure functions of the seed. Every epoch is a new permutation of all examples, so that each example
 * is used exactly once per epoch, for any number of workers and after any number of resumes.
 */
import { randomKey } from '../../base/counterRandom.ts';
import { type Permutation, permutation } from '../permutation.ts';

/** Separate these random streams from others with the same seed. */
const orderStream = 0x65786f72;
const splitStream = 0x6578766c;

export class ExampleOrder {
  readonly #count: number;
  readonly #seed: number;
  #newest: { epoch: number; order: Permutation } | undefined;

  /** @param count number of examples, at least 1 */
  constructor(count: number, seed: number) {
    this.#count = count;
    this.#seed = seed;
  }

  /** The index of the example at a place, counted from 0 over the entire run. */
  at(place: number): number {
    const epoch = Math.floor(place / this.#count);
    if (this.#newest?.epoch !== epoch) {
      this.#newest = { epoch, order: permutation(this.#count, randomKey(this.#seed, orderStream, epoch)) };
    }
    return this.#newest.order.at(place % this.#count);
  }
}

/**
 * The indices of the examples that are held out for validation, ascending.
 * @param fraction of `count`, rounded to a whole number
 */
export function heldOut(count: number, fraction: number, seed: number): number[] {
  const wanted = Math.round(count * fraction);
  if (wanted === 0) return [];
  const order = permutation(count, randomKey(seed, splitStream));
  return Array.from({ length: wanted }, (_, place) => order.at(place)).sort((a, b) => a - b);
}
