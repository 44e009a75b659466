/**
 * A split of prepared data as one sequence of tokens. Only the requested windows, of a few KB each, are in memory; they are read from
 * the files, synchronously or while other work continues.
 */
import { closeSync, fstatSync, openSync, read, readSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { invariant, UserError } from '../../base/errors.ts';
import { damaged, readFailure } from '../../base/strictJson.ts';
import type { TokenArray, TokenSequence } from '../tokenArray.ts';
import { decodeShardHeader, SHARD_HEADER_BYTES, type TokenBytes } from './shardFormat.ts';
import type { ShardEntry, ShardManifest, ShardRange } from './shardManifest.ts';

const readPromise = promisify(read);

/** A part of the sequence in one file. */
interface Segment {
  readonly path: string;
  readonly fd: number;
  /** Index of its first token in the sequence. */
  readonly start: number;
  readonly tokens: number;
  /** Index of its first token in the file. */
  readonly offsetBytes: number;
}

/** The open files of prepared data. */
export class ShardFiles {
  readonly #manifest: ShardManifest;
  readonly #files: ReadonlyMap<string, { path: string; fd: number }>;

  private constructor(manifest: ShardManifest, files: ReadonlyMap<string, { path: string; fd: number }>) {
    this.#manifest = manifest;
    this.#files = files;
  }

  /**
   * Opens every shard and compares its size and header with the manifest; it does not read the tokens.
   * @throws UserError for a shard that is missing, truncated, or not the one in the manifest
   */
  static open(folder: string, manifest: ShardManifest): ShardFiles {
    const files = new Map<string, { path: string; fd: number }>();
    try {
      for (const entry of manifest.shards) {
        const path = join(folder, entry.name);
        const fd = openFile(path);
        files.set(entry.name, { path, fd });
        checkShard({ path, fd, entry, manifest });
      }
    } catch (error) {
      for (const { fd } of files.values()) closeSync(fd);
      throw error;
    }
    return new ShardFiles(manifest, files);
  }

  split(ranges: readonly ShardRange[]): ShardSequence {
    const { tokenBytes } = this.#manifest;
    const segments: Segment[] = [];
    let start = 0;
    for (const { shard, from, to } of ranges) {
      const file = this.#files.get(shard);
      invariant(file !== undefined, `${shard} is not open`);
      const tokens = to - from;
      if (tokens > 0) segments.push({ ...file, start, tokens, offsetBytes: SHARD_HEADER_BYTES + from * tokenBytes });
      start += tokens;
    }
    return new ShardSequence(segments, start, tokenBytes);
  }

  close(): void {
    for (const { fd } of this.#files.values()) closeSync(fd);
  }
}

export class ShardSequence implements TokenSequence {
  readonly length: number;
  readonly #segments: readonly Segment[];
  readonly #tokenBytes: TokenBytes;

  constructor(segments: readonly Segment[], length: number, tokenBytes: TokenBytes) {
    this.#segments = segments;
    this.length = length;
    this.#tokenBytes = tokenBytes;
  }

  /** The tokens of `sequences`, concatenated. */
  static concat(sequences: readonly ShardSequence[]): ShardSequence {
    const [first] = sequences;
    invariant(first !== undefined, 'a sequence of nothing');
    const tokenBytes = first.#tokenBytes;
    let start = 0;
    const segments = sequences.flatMap((sequence) => {
      invariant(sequence.#tokenBytes === tokenBytes, 'sequences of one type of token');
      const moved = sequence.#segments.map((segment) => ({ ...segment, start: start + segment.start }));
      start += sequence.length;
      return moved;
    });
    return new ShardSequence(segments, start, tokenBytes);
  }

  /** @throws UserError if a file has become shorter, PeerError when the disk fails */
  subarray(from: number, to: number): TokenArray {
    invariant(from >= 0 && from <= to && to <= this.length, `no tokens ${from} to ${to} among ${this.length}`);
    const bytes = new Uint8Array((to - from) * this.#tokenBytes);
    for (const { segment, position, into } of this.#reads(from, to)) {
      readFullySync(segment, bytes.subarray(into.from, into.to), position);
    }
    return this.#tokensOf(bytes);
  }

  /** @throws as {@link subarray} */
  async read(from: number, to: number): Promise<TokenArray> {
    invariant(from >= 0 && from <= to && to <= this.length, `no tokens ${from} to ${to} among ${this.length}`);
    const bytes = new Uint8Array((to - from) * this.#tokenBytes);
    for (const { segment, position, into } of this.#reads(from, to)) {
      await readFullyAsync(segment, bytes.subarray(into.from, into.to), position);
    }
    return this.#tokensOf(bytes);
  }

  #tokensOf({ buffer }: Uint8Array<ArrayBuffer>): TokenArray {
    return this.#tokenBytes === 2 ? new Uint16Array(buffer) : new Uint32Array(buffer);
  }

  /** The reads that together give the tokens [from, to). */
  *#reads(
    from: number,
    to: number,
  ): Generator<{ segment: Segment; position: number; into: { from: number; to: number } }> {
    const size = this.#tokenBytes;
    for (let i = this.#segmentAt(from), at = from; at < to; i++) {
      const segment = this.#segments[i]!;
      const end = Math.min(to, segment.start + segment.tokens);
      const into = { from: (at - from) * size, to: (end - from) * size };
      yield { segment, position: segment.offsetBytes + (at - segment.start) * size, into };
      at = end;
    }
  }

  /** The segment that contains the token at `index`, found by bisection. */
  #segmentAt(index: number): number {
    let low = 0;
    let high = this.#segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#segments[middle]!.start <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    throw readFailure(path, error);
  }
}

async function readFullyAsync(
  { fd, path }: { fd: number; path: string },
  into: Uint8Array,
  position: number,
): Promise<void> {
  for (let filled = 0; filled < into.length; ) {
    const { bytesRead } = await readPromise(fd, into, filled, into.length - filled, position + filled).catch(
      (error: unknown) => {
        throw readFailure(path, error);
      },
    );
    if (bytesRead === 0) throw damaged(path, `it ends at byte ${position + filled}`);
    filled += bytesRead;
  }
}

function readFullySync({ fd, path }: { fd: number; path: string }, into: Uint8Array, position: number): void {
  for (let filled = 0; filled < into.length; ) {
    let bytesRead: number;
    try {
      bytesRead = readSync(fd, into, filled, into.length - filled, position + filled);
    } catch (error) {
      throw readFailure(path, error);
    }
    if (bytesRead === 0) throw damaged(path, `it ends at byte ${position + filled}`);
    filled += bytesRead;
  }
}

interface OpenShard {
  readonly path: string;
  readonly fd: number;
  readonly entry: ShardEntry;
  readonly manifest: ShardManifest;
}

function checkShard({ path, fd, entry, manifest }: OpenShard): void {
  const { size } = fstatSync(fd);
  const bytes = Buffer.alloc(Math.min(size, SHARD_HEADER_BYTES));
  readFullySync({ fd, path }, bytes, 0);
  const header = decodeShardHeader(bytes, path);
  if (header.tokenizerSha256 !== manifest.tokenizer.sha256) {
    throw new UserError(
      `${path} was made with another tokenizer than its folder's manifest says: prepare the folder again, or restore the file`,
    );
  }
  const wanted = SHARD_HEADER_BYTES + entry.tokens * manifest.tokenBytes;
  if (size !== wanted) throw damaged(path, `it has ${size} bytes, but its manifest says ${wanted}`);
  const isSame =
    header.tokens === entry.tokens &&
    header.tokenBytes === manifest.tokenBytes &&
    header.vocabSize === manifest.tokenizer.vocabSize;
  if (!isSame) throw damaged(path, 'its header and the manifest differ in the number or the type of tokens');
  if (header.tokensSha256 !== entry.sha256) {
    throw damaged(path, `its header says sha256 ${header.tokensSha256}, but the manifest says ${entry.sha256}`);
  }
}
