/**
 * Packing: samples of tokens that are shorter than the context share it, so that little of a batch is padding. A pack is itself a sample,
 * with the place where each of its documents starts.
 */
import type { Batch, BatchArray, BatchNumbers } from '../base/batch.ts';
import { invariant } from '../base/errors.ts';
import type { FieldRules } from './fields.ts';
import { tokenFields } from './nextToken.ts';
import type { Sample, Task } from './task.ts';

/** The input of a model of these sizes: `starts` is the first position of the document that each position belongs to. */
export function packedFields(sizes: { blockSize: number; vocabSize: number }): FieldRules {
  const fields = tokenFields(sizes);
  const { axes } = fields['tokens']!;
  return { ...fields, starts: { dtype: 'int32', axes, min: 0, max: sizes.blockSize - 1, problem: startsProblem } };
}

/** Each position continues the document of the one before it, or starts the next. */
function startsProblem(starts: BatchNumbers): string | undefined {
  for (let i = 0; i < starts.length; i++) {
    if (starts[i] === i || (i > 0 && starts[i] === starts[i - 1])) continue;
    const expected = i === 0 ? '0' : `${starts[i - 1]} or ${i}`;
    return `expected ${expected} at position ${i}, received ${starts[i]}`;
  }
  return undefined;
}

/** The starts of a batch of packs. */
export function startsOf({ arrays }: Batch): BatchArray<Int32Array> {
  const { starts } = arrays as Partial<Record<string, BatchArray>>;
  invariant(starts !== undefined, `expected a batch with starts, received ${Object.keys(arrays).join(', ')}`);
  const { shape, data } = starts;
  invariant(data instanceof Int32Array, 'expected starts of type int32');
  return { shape, data };
}

/**
 * Divides samples of these lengths into packs of at most `blockSize` tokens: best-fit decreasing, which takes the longest sample first and
 * puts it where the least space remains. Returns the samples of each pack, ascending; packs are in the order of their first samples.
 * The same lengths give the same packs. O(n log n).
 *
 * @throws InvariantError for a sample that is longer than blockSize, or empty
 */
export function planPacks(lengths: readonly number[], blockSize: number): number[][] {
  for (const [i, length] of lengths.entries()) {
    invariant(length >= 1 && length <= blockSize, `sample ${i} has ${length} tokens; expected 1 to ${blockSize}`);
  }
  const longestFirst = lengths.map((_, i) => i).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const packs: number[][] = [];
  const open = new OpenPacks(blockSize);
  for (const sample of longestFirst) {
    const length = lengths[sample]!;
    const fit = open.takeTightest(length);
    const pack = fit?.pack ?? packs.push([]) - 1;
    packs[pack]!.push(sample);
    open.add(pack, (fit?.space ?? blockSize) - length);
  }
  for (const pack of packs) pack.sort((a, b) => a - b);
  return packs.sort((a, b) => a[0]! - b[0]!);
}

/** Packs by the space that remains in them. A tree over the spaces finds the smallest one that is large enough. */
class OpenPacks {
  /** For each space, the packs that have it. */
  readonly #bySpace: number[][];
  /** Number of packs below each node of a complete binary tree; node n has the children 2n and 2n + 1. */
  readonly #counts: Int32Array;
  readonly #leaves: number;

  constructor(largest: number) {
    this.#leaves = 2 ** Math.ceil(Math.log2(largest + 1));
    this.#bySpace = Array.from({ length: this.#leaves }, () => []);
    this.#counts = new Int32Array(2 * this.#leaves);
  }

  add(pack: number, space: number): void {
    if (space === 0) return;
    this.#bySpace[space]!.push(pack);
    this.#count(space, 1);
  }

  /** Removes a pack with the least space that is at least this. */
  takeTightest(least: number): { readonly pack: number; readonly space: number } | undefined {
    const space = this.#firstFrom(least);
    if (space === undefined) return undefined;
    this.#count(space, -1);
    return { pack: this.#bySpace[space]!.pop()!, space };
  }

  #count(space: number, change: number): void {
    for (let node = this.#leaves + space; node >= 1; node >>= 1) this.#counts[node]! += change;
  }

  #firstFrom(least: number): number | undefined {
    let node = this.#leaves + least;
    while (this.#counts[node] === 0) {
      // To the next subtree on the right: up while the node is the last child, then to its sibling.
      while (node % 2 === 1) node >>= 1;
      if (node === 0) return undefined;
      node += 1;
    }
    while (node < this.#leaves) node = this.#counts[2 * node] === 0 ? 2 * node + 1 : 2 * node;
    return node - this.#leaves;
  }
}

/** The sample that holds these samples of tokens and targets one after another. */
export function packSamples(samples: readonly Sample[]): Sample {
  const [tokens, targets, starts]: [number[], number[], number[]] = [[], [], []];
  for (const sample of samples) {
    const [ids, labels] = [sample['tokens'], sample['targets']];
    invariant(ids !== undefined && labels?.length === ids.length, 'expected samples with as many targets as tokens');
    const start = tokens.length;
    for (let i = 0; i < ids.length; i++) {
      tokens.push(ids[i]!);
      targets.push(labels[i]!);
      starts.push(start);
    }
  }
  return { tokens: Int32Array.from(tokens), targets: Int32Array.from(targets), starts: Int32Array.from(starts) };
}

/** Whether the samples of a task can be packed: each is tokens and their targets. */
function isPackable({ objective, fields }: Pick<Task<never>, 'objective' | 'fields'>): boolean {
  return objective === 'next-token' && Object.keys(fields).sort().join() === 'targets,tokens';
}

/** What a task's packs are: as its samples, with `starts`. A padded position is a document by itself. */
export function packedTask<T extends Pick<Task<never>, 'objective' | 'fields'>>(task: T) {
  invariant(isPackable(task), `samples of ${task.objective} cannot be packed`);
  const starts = { dtype: 'int32', padding: 'position' } as const;
  return { ...task, objective: 'packed-tokens', fields: { ...task.fields, starts } };
}
