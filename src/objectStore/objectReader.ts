/**
 * Reads one object in ranges of 8 MiB, and the next ones ahead while the caller works. A complete read that its caller has verified can record
 * the hash of each range, and keeps a copy on the disk for some minutes if there is room. Later reads of the same object take the copy, or verify every
 * range that they fetch, and fetch a damaged one again.
 */
import { createHash } from 'node:crypto';
import { UserError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import type { BucketClient } from './client.ts';
import { getRange, headObject, type ObjectFacts } from './objects.ts';
import { ReadCopy } from './readCopy.ts';
import { sha256Of } from './signature.ts';

/** Bytes of a range. */
export const rangeBytes = 8 * 2 ** 20;
/** Ranges in memory: one that is read, and those on their way. */
const rangesMost = 4;
/** How often a range whose hash is wrong is fetched. */
const fetchesMost = 3;

/** What is known of an object that was verified. */
interface Verified {
  /** One for each range. */
  readonly hashes: readonly string[];
  readonly copy: ReadCopy | undefined;
}

/** By path and tag. */
const verified = new Map<string, Verified>();
const verifiedMost = 256;
/** Smaller objects are fetched again. */
const copiedBytesLeast = 2 ** 20;

export class ObjectReader {
  readonly path: string;
  readonly bytes: number;
  readonly #client: BucketClient;
  readonly #key: string;
  readonly #tag: string;
  readonly #abort = new AbortController();
  /** By the index of the range. */
  readonly #ranges = new Map<number, Promise<Buffer>>();

  constructor(client: BucketClient, key: string, { bytes, tag }: Pick<ObjectFacts, 'bytes' | 'tag'>) {
    this.#client = client;
    this.#key = key;
    this.#tag = tag;
    this.path = client.pathOf(key);
    this.bytes = bytes;
  }

  /** Fills `into` from `position` on. @throws UserError if the object ends before; PeerError if the store fails */
  async read(into: Uint8Array, position: number): Promise<void> {
    if (position + into.length > this.bytes) throw damaged(this.path, `it ends at byte ${this.bytes}`);
    for (let done = 0; done < into.length; ) {
      const at = position + done;
      const index = Math.floor(at / rangeBytes);
      const isOnward = this.#ranges.has(index - 1) || (this.#ranges.has(index) && this.#ranges.size > 1);
      const range = await this.#range(index, isOnward);
      const piece = range.subarray(at - index * rangeBytes, at - index * rangeBytes + into.length - done);
      into.set(piece, done);
      done += piece.length;
    }
  }

  /** The sha256 of the object in hex. If it is `expected`, later reads verify every range. */
  async hash(expected?: string): Promise<string> {
    const whole = createHash('sha256');
    const parts: string[] = [];
    let copy = this.bytes >= copiedBytesLeast && expected !== undefined ? await ReadCopy.begin(this.bytes) : undefined;
    try {
      for (let index = 0; index * rangeBytes < this.bytes; index++) {
        const range = await this.#range(index, true);
        whole.update(range);
        parts.push(sha256Of(range));
        if (copy !== undefined && !(await copy.add(range))) copy = undefined;
      }
      const found = whole.digest('hex');
      if (found === expected) {
        remember(this.#identity, { hashes: parts, copy });
        copy = undefined;
      }
      return found;
    } finally {
      await copy?.close();
    }
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await Promise.allSettled(this.#ranges.values());
    this.#ranges.clear();
  }

  get #identity(): string {
    return `${this.path} ${this.#tag}`;
  }

  /** @param isOnward whether the ranges behind it are probably read next */
  #range(index: number, isOnward: boolean): Promise<Buffer> {
    const wanted = this.#ranges.get(index) ?? this.#fetch(index);
    const ahead = isOnward ? rangesMost : 1;
    const kept = new Map<number, Promise<Buffer>>([[index, wanted]]);
    for (let next = index + 1; next < index + ahead && next * rangeBytes < this.bytes; next++) {
      kept.set(next, this.#ranges.get(next) ?? this.#fetch(next));
    }
    this.#ranges.clear();
    for (const [each, range] of kept) this.#ranges.set(each, range);
    return wanted;
  }

  #fetch(index: number): Promise<Buffer> {
    const range = this.#fetchVerified(index);
    // A caller that reads it sees the error; one that was fetched ahead may never be read.
    range.catch(() => undefined);
    return range;
  }

  async #fetchVerified(index: number): Promise<Buffer> {
    const start = index * rangeBytes;
    const end = Math.min(this.bytes, start + rangeBytes);
    const { signal } = this.#abort;
    const { hashes, copy } = verified.get(this.#identity) ?? {};
    const expected = hashes?.[index];
    const copied = await copy?.read(start, end);
    if (copied !== undefined && sha256Of(copied) === expected) return copied;
    for (let attempt = 1; ; attempt++) {
      const range = await getRange(this.#client, this.#key, { start, end, tag: this.#tag, signal });
      if (range === undefined) throw new UserError(`${this.path} is missing`);
      if (expected === undefined || sha256Of(range) === expected) return range;
      if (attempt === fetchesMost) {
        throw damaged(this.path, `bytes ${start} to ${end} differ from what was verified, in ${attempt} attempts`);
      }
    }
  }
}

function remember(identity: string, known: Verified): void {
  const replaced =
    verified.get(identity) ?? (verified.size >= verifiedMost ? verified.values().next().value : undefined);
  void replaced?.copy?.close();
  if (!verified.has(identity) && verified.size >= verifiedMost) verified.delete(verified.keys().next().value!);
  known.copy?.keep();
  verified.set(identity, known);
}

/** @throws UserError if there is no such object */
export async function openObject(client: BucketClient, key: string): Promise<ObjectReader> {
  const facts = await headObject(client, key);
  if (facts === undefined) throw new UserError(`${client.pathOf(key)} is missing`);
  return new ObjectReader(client, key, facts);
}
