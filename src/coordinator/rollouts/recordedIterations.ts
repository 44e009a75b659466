/**
 * The iterations whose rollouts are in the journal, with their hashes: a file is read only if it has the hash of its iteration. Where the files are:
 * rolloutStore.ts.
 */
import { createHash } from 'node:crypto';
import { UserError } from '../../base/errors.ts';
import type { KnownIteration } from '../core/runPlan.ts';
import { decodeRollouts, type IterationRollouts } from './rolloutFile.ts';
import type { RolloutStore } from './rolloutStore.ts';

export class RecordedIterations {
  readonly #store: RolloutStore;
  readonly #hashes = new Map<number, string>();

  constructor(store: RolloutStore) {
    this.#store = store;
  }

  add({ iteration, sha256 }: KnownIteration): void {
    this.#hashes.set(iteration, sha256);
  }

  has(iteration: number): boolean {
    return this.#hashes.has(iteration);
  }

  /** The hash of an iteration that was added. */
  sha256Of(iteration: number): string {
    return this.#hashes.get(iteration)!;
  }

  /** This iteration and later ones are made again. */
  forgetFrom(iteration: number): void {
    for (const known of this.#hashes.keys()) if (known >= iteration) this.#hashes.delete(known);
  }

  /** @throws UserError if they are missing or damaged */
  read(iteration: number): IterationRollouts {
    const sha256 = this.#hashes.get(iteration);
    const path = this.#store.pathOf(iteration);
    const content = sha256 === undefined ? undefined : this.#store.read(iteration);
    if (sha256 === undefined || content === undefined) {
      throw new UserError(`${path} is missing, and the steps of iteration ${iteration} learn from it: restore it`);
    }
    return decodeRollouts(this.#checked(iteration, content, sha256), path);
  }

  /** The iteration need not be added. @throws UserError if its file is missing or has another hash */
  check({ iteration, sha256 }: KnownIteration): void {
    const content = this.#store.read(iteration);
    if (content === undefined) throw new UserError(`${this.#store.pathOf(iteration)} is missing`);
    this.#checked(iteration, content, sha256);
  }

  #checked(iteration: number, content: Uint8Array, sha256: string): Uint8Array {
    const found = sha256Of(content);
    if (found === sha256) return content;
    throw new UserError(
      `${this.#store.pathOf(iteration)} is damaged or of another run: its sha256 is ${found}, expected ${sha256}`,
    );
  }
}

/** The hash of a file's contents, hexadecimal. */
export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
