/**
 * A hash table from a pair of tokens to a number: open addressing in typed arrays, several times as fast as a Map, whose keys would
 * be strings or heap numbers. Used for encoding (pair → rank) and for training merges (pair → its record).
 */

const absent = -1;
/** Words of a slot: left, right, value. */
const slotWords = 3;

export class PairTable {
  #slots: Int32Array;
  #mask: number;
  #size = 0;

  /** `capacity` pairs fit before the table grows. */
  constructor(capacity = 1024) {
    const count = 2 ** Math.ceil(Math.log2(2 * capacity + 2));
    this.#slots = new Int32Array(count * slotWords).fill(absent);
    this.#mask = count - 1;
  }

  /** The pair's value, or -1. */
  get(left: number, right: number): number {
    return this.#slots[this.#slotOf(left, right) + 2] as number;
  }

  /** `value` is 0 or more; it replaces the value of an existing pair. */
  set(left: number, right: number, value: number): void {
    const slot = this.#slotOf(left, right);
    const isNew = this.#slots[slot + 2] === absent;
    this.#slots[slot] = left;
    this.#slots[slot + 1] = right;
    this.#slots[slot + 2] = value;
    if (isNew && 2 * ++this.#size > this.#mask) this.#grow();
  }

  /** The slot of the pair, or the slot for adding it. */
  #slotOf(left: number, right: number): number {
    const slots = this.#slots;
    const mixed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right + 1, 0x85ebca6b);
    for (let index = (mixed ^ (mixed >>> 15)) & this.#mask; ; index = (index + 1) & this.#mask) {
      const slot = index * slotWords;
      if (slots[slot + 2] === absent || (slots[slot] === left && slots[slot + 1] === right)) return slot;
    }
  }

  #grow(): void {
    const before = this.#slots;
    this.#mask = 2 * this.#mask + 1;
    this.#slots = new Int32Array((this.#mask + 1) * slotWords).fill(absent);
    for (let slot = 0; slot < before.length; slot += slotWords) {
      if (before[slot + 2] === absent) continue;
      this.#slots.set(before.subarray(slot, slot + slotWords), this.#slotOf(before[slot]!, before[slot + 1]!));
    }
  }
}
