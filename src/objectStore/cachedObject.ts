/** One object of known content, read through the cache of ranges on the local disk. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { errorCode, invariant, messageOf, PeerError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import { isFile } from '../base/wholeFiles.ts';
import type { BucketClient } from './client.ts';
import type { ObjectFacts } from './objects.ts';
import { getVerified, type ObjectIdentity, type PieceHashes, piecesOf } from './pieceHashes.ts';
import { hashRanges, type RangeCache, writeRange } from './rangeCache.ts';

/** What the content must be. */
export interface ExpectedContent {
  /** The sha256 of what follows the first `skip` bytes, in hex. */
  readonly sha256: string;
  readonly skip: number;
  /** Tells contents with the same hash apart, such as their headers. */
  readonly kind: string;
}

/** An object that is read through the cache. */
export interface CachedSource extends Pick<ObjectFacts, 'bytes' | 'tag'> {
  readonly key: string;
  readonly expected: ExpectedContent;
  /** The tag of the object with the hashes of its pieces; undefined if there is none. */
  readonly piecesTag: string | undefined;
}

/** How often a content that is not as expected is fetched. */
const fetchesMost = 2;
const helper = fileURLToPath(new URL('./fetchRangeMain.js', import.meta.url));
const helperMs = 120_000;

/** A miss: the range must be fetched first. */
interface Piece {
  readonly path: string;
  readonly index: number;
  /** In the file of the range. */
  readonly at: number;
  readonly into: Uint8Array;
}

export class CachedObject {
  readonly path: string;
  readonly bytes: number;
  readonly #cache: RangeCache;
  readonly #client: BucketClient;
  readonly #key: string;
  readonly #tag: string;
  readonly #expected: ExpectedContent;
  readonly #id: string;
  #problem: Error | undefined;
  readonly #piecesTag: string | undefined;
  /** If each range is verified, the object need not be. */
  #checked: Promise<void> | undefined;
  #fetches = 1;
  /** The cache had all ranges before it. */
  #firstMissing = 0;

  constructor(cache: RangeCache, client: BucketClient, { key, bytes, tag, expected, piecesTag }: CachedSource) {
    this.#cache = cache;
    this.#client = client;
    this.#key = key;
    this.#tag = tag;
    this.#expected = expected;
    this.#piecesTag = piecesTag;
    if (piecesTag !== undefined) this.#checked = Promise.resolve();
    this.path = client.pathOf(key);
    this.bytes = bytes;
    const { sha256, kind } = expected;
    this.#id = createHash('sha256')
      // A range that was cached without hashes of pieces is not used where there are some: it may never have been verified.
      .update(JSON.stringify([sha256, kind, bytes, ...(piecesTag === undefined ? [] : ['by piece'])]))
      .digest('hex');
  }

  /** Fetches the ranges with these bytes in the background. A failed fetch is repeated when they are read. */
  prefetch(from: number, to: number): void {
    if (this.#problem !== undefined) return;
    for (const index of this.#indices(from, to)) void this.#fill(index, false);
  }

  /** @throws UserError for content that is not as expected; PeerError if the store or the disk fails */
  async read(into: Uint8Array, position: number): Promise<void> {
    for (const piece of this.#pieces(into, position)) {
      for (let isDone = false; !isDone; ) {
        await this.#fill(piece.index, true);
        isDone = await readPiece(piece);
        if (!isDone) this.#cache.remove(piece.path); // another process has removed it
      }
      this.#use(piece.path);
    }
  }

  /** The same, while this process waits: for ranges that were fetched before. Others are fetched by a helper process. */
  readSync(into: Uint8Array, position: number): void {
    for (const piece of this.#pieces(into, position)) {
      for (let fetches = 0; !readPieceSync(piece); fetches++) {
        // A file of that name may just be on its way out.
        if (fetches === fetchesMost) throw new PeerError(`${piece.path} disappeared as soon as it was written`);
        this.#fetchSync(piece);
      }
      this.#use(piece.path);
    }
  }

  *#indices(from: number, to: number): Generator<number, void> {
    const { rangeBytes } = this.#cache;
    for (let index = Math.floor(from / rangeBytes); index * rangeBytes < Math.min(to, this.bytes); index++) yield index;
  }

  *#pieces(into: Uint8Array, position: number): Generator<Piece, void> {
    if (this.#problem !== undefined) throw this.#problem;
    if (position + into.length > this.bytes) throw damaged(this.path, `it ends at byte ${this.bytes}`);
    const { rangeBytes } = this.#cache;
    for (const index of this.#indices(position, position + into.length)) {
      const start = index * rangeBytes;
      const from = Math.max(position, start);
      const to = Math.min(position + into.length, start + rangeBytes);
      const path = this.#cache.pathOf(this.#id, index);
      yield { path, index, at: from - start, into: into.subarray(from - position, to - position) };
    }
  }

  #limits(index: number): { start: number; end: number } {
    const { rangeBytes } = this.#cache;
    return { start: index * rangeBytes, end: Math.min(this.bytes, (index + 1) * rangeBytes) };
  }

  async #fill(index: number, isUrgent: boolean): Promise<void> {
    const path = this.#cache.pathOf(this.#id, index);
    if (this.#cache.has(path)) return;
    const fetch = async () => {
      const pieces = await this.#pieceHashes();
      return await getVerified(this.#client, this.#identity, { ...this.#limits(index), pieces });
    };
    const filled = this.#cache.fill(path, fetch, isUrgent);
    await (isUrgent ? filled : filled.catch(() => undefined));
    this.#checkWhenComplete();
  }

  #fetchSync({ path, index }: Piece): void {
    const { start, end } = this.#limits(index);
    try {
      const { key: _, ...identity } = this.#identity;
      const hasPieces = this.#piecesTag !== undefined;
      const request = JSON.stringify({ from: this.path, start, end, to: path, hasPieces, ...identity });
      execFileSync(process.execPath, [helper, request], { stdio: ['ignore', 'ignore', 'pipe'], timeout: helperMs });
    } catch (error) {
      const { stderr } = error as { stderr?: Buffer };
      const said = stderr?.toString().trim().slice(0, 1000);
      throw new PeerError(said || `${this.path} could not be read: ${messageOf(error)}`, { cause: error });
    }
    this.#cache.added(path, end - start);
    this.#checkWhenComplete();
  }

  get #identity(): ObjectIdentity {
    return { key: this.#key, bytes: this.bytes, tag: this.#tag, id: this.#expected.sha256 };
  }

  /** They are fetched before its first range. */
  async #pieceHashes(): Promise<PieceHashes | undefined> {
    if (this.#piecesTag === undefined) return undefined;
    const id = `${this.path} ${this.#piecesTag} ${this.#id}`;
    return await this.#cache.pieces.get(id, this.bytes, () => piecesOf(this.#client, this.#identity));
  }

  #use(path: string): void {
    this.#cache.used(path);
  }

  /** Once, in the background. */
  #checkWhenComplete(): void {
    if (this.#checked !== undefined) return;
    // From where the last look ended: a large object has thousands of ranges.
    for (; this.#firstMissing * this.#cache.rangeBytes < this.bytes; this.#firstMissing++) {
      if (!this.#cache.has(this.#cache.pathOf(this.#id, this.#firstMissing))) return;
    }
    this.#firstMissing = 0;
    const paths = [...this.#indices(0, this.bytes)].map((index) => this.#cache.pathOf(this.#id, index));
    if (!paths.every((path) => this.#cache.has(path))) return;
    this.#checked = this.#cache
      .inTurn(() => this.#check(paths))
      .catch(() => {
        // The disk of the cache failed: a later read says so.
        this.#checked = undefined;
      });
  }

  async #check(paths: readonly string[]): Promise<void> {
    const mark = this.#cache.markOf(this.#id);
    if (await isFile(mark)) return;
    const { sha256, skip } = this.#expected;
    const found = await hashRanges(paths, skip);
    if (found === sha256) return await writeRange(mark, new Uint8Array(0));
    for (const path of paths) this.#cache.remove(path);
    this.#checked = undefined;
    // Some were removed meanwhile.
    if (found === undefined) return;
    if (this.#fetches++ >= fetchesMost) {
      this.#problem = damaged(this.path, `its sha256 is ${found}, but its manifest says ${sha256}`);
      return;
    }
    this.prefetch(0, this.bytes);
  }
}

async function readPiece({ path, at, into }: Piece): Promise<boolean> {
  const file = await open(path, 'r').catch(absent);
  if (file === undefined) return false;
  try {
    const { bytesRead } = await file.read(into, 0, into.length, at);
    return bytesRead === into.length;
  } finally {
    await file.close();
  }
}

function readPieceSync({ path, at, into }: Piece): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    return absent(error) !== undefined;
  }
  try {
    return readSync(fd, into, 0, into.length, at) === into.length;
  } finally {
    closeSync(fd);
  }
}

function absent(error: unknown): undefined {
  invariant(error instanceof Error, 'the system throws errors');
  if (errorCode(error) !== 'ENOENT') throw new PeerError(`the cache of objects cannot be read: ${messageOf(error)}`);
}
