/**
 * Which range of a few big slabs each block gets: best fit with coalescing (Knuth, "The Art of Computer Programming", vol. 1,
 * 2.5). It only counts: the memory is sharedMemory.ts's affair.
 *
 * The space above the highest block of a slab is used only where no hole between blocks fits (Wilson et al., "Dynamic Storage
 * Allocation", 1995: preserve the wilderness), so that memory never touched stays so. The same calls give the same ranges, and
 * once every block is given back nothing of the past is left but the slabs.
 */
import { invariant } from '../../base/errors.ts';

export interface Slab {
  /** Slabs are numbered from 0. */
  readonly index: number;
  readonly capacity: number;
}

export interface Block {
  readonly slab: Slab;
  readonly offset: number;
  readonly size: number;
}

/** A block, or a hole between blocks. */
class Range implements Block {
  readonly slab: Space;
  readonly offset: number;
  size: number;
  isFree = false;
  /** The neighbours by address. Two holes are never neighbours, and the highest range of a slab is a block. */
  before: Range | undefined;
  after: Range | undefined;

  constructor(slab: Space, offset: number, size: number) {
    this.slab = slab;
    this.offset = offset;
    this.size = size;
  }

  get end(): number {
    return this.offset + this.size;
  }
}

class Space implements Slab {
  readonly index: number;
  readonly capacity: number;
  highest: Range | undefined;
  /** The highest end that a block ever had. */
  touched = 0;

  constructor(index: number, capacity: number) {
    this.index = index;
    this.capacity = capacity;
  }

  /** Where the free space above all blocks starts. */
  get top(): number {
    return this.highest?.end ?? 0;
  }
}

export class Arena {
  readonly #slabs: Space[] = [];
  /** The smallest first, of equal ones that with the lowest address. */
  readonly #holes: Range[] = [];
  #capacity = 0;
  #touched = 0;

  /** The size of all slabs together. */
  get capacity(): number {
    return this.#capacity;
  }

  /** How much of the slabs was ever part of a block. */
  get touched(): number {
    return this.#touched;
  }

  /** How many holes there are between blocks. */
  get holes(): number {
    return this.#holes.length;
  }

  addSlab(capacity: number): Slab {
    const slab = new Space(this.#slabs.length, capacity);
    this.#slabs.push(slab);
    this.#capacity += capacity;
    return slab;
  }

  /** A block of `size` (at least 1), or undefined if that needs another slab. */
  take(size: number): Block | undefined {
    const index = this.#placeInHoles(size, -1, 0);
    const hole = this.#holes[index];
    if (hole !== undefined) {
      this.#holes.splice(index, 1);
      return this.#cut(hole, size);
    }
    const slab = this.#slabs.find(({ capacity, top }) => capacity - top >= size);
    return slab && this.#append(slab, size);
  }

  /** Returns a block from `take`, which must not be used afterwards. */
  give(block: Block): void {
    invariant(block instanceof Range && !block.isFree, 'a block was given back twice, or is not of an arena');
    block.isFree = true;
    let range: Range = block;
    if (range.after?.isFree) range = this.#absorb(range, this.#withoutHole(range.after));
    if (range.before?.isFree) range = this.#absorb(this.#withoutHole(range.before), range);
    if (range.after !== undefined) this.#addHole(range);
    else {
      range.slab.highest = range.before;
      if (range.before !== undefined) range.before.after = undefined;
    }
  }

  #append(slab: Space, size: number): Range {
    const block = new Range(slab, slab.top, size);
    block.before = slab.highest;
    if (block.before !== undefined) block.before.after = block;
    slab.highest = block;
    if (block.end > slab.touched) {
      this.#touched += block.end - slab.touched;
      slab.touched = block.end;
    }
    return block;
  }

  /** Makes the front of a hole a block; what is left over stays a hole. */
  #cut(hole: Range, size: number): Range {
    hole.isFree = false;
    if (hole.size === size) return hole;
    const rest = new Range(hole.slab, hole.offset + size, hole.size - size);
    rest.isFree = true;
    rest.before = hole;
    rest.after = hole.after!;
    rest.after.before = rest;
    hole.after = rest;
    hole.size = size;
    this.#addHole(rest);
    return hole;
  }

  /** One range of two neighbours. */
  #absorb(lower: Range, upper: Range): Range {
    lower.size += upper.size;
    lower.after = upper.after;
    if (lower.after !== undefined) lower.after.before = lower;
    else lower.slab.highest = lower;
    return lower;
  }

  #addHole(hole: Range): void {
    this.#holes.splice(this.#placeInHoles(hole.size, hole.slab.index, hole.offset), 0, hole);
  }

  #withoutHole(hole: Range): Range {
    this.#holes.splice(this.#placeInHoles(hole.size, hole.slab.index, hole.offset), 1);
    return hole;
  }

  /** The index of the first hole that does not come before a hole of this size and address. */
  #placeInHoles(size: number, slab: number, offset: number): number {
    let [low, high] = [0, this.#holes.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const hole = this.#holes[middle]!;
      if ((hole.size - size || hole.slab.index - slab || hole.offset - offset) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
