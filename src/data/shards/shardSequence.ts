/**
 * A split of prepared data as one sequence of tokens. Only the requested windows, of a few KB each, are in memory; they are read from
 * the files, synchronously or while other work continues.
 */
import { join } from 'node:path';
import { invariant, UserError } from '../../base/errors.ts';
import { isObjectPath } from '../../base/objectPath.ts';
import { damaged } from '../../base/strictJson.ts';
import type { TokenArray, TokenSequence } from '../tokenArray.ts';
import { openShardFile, openShardObjects, type ShardFile } from './shardFile.ts';
import { decodeShardHeader, SHARD_HEADER_BYTES, type TokenBytes } from './shardFormat.ts';
import type { ShardEntry, ShardManifest, ShardRange } from './shardManifest.ts';

/** A part of the sequence in one file. */
interface Segment {
  readonly file: ShardFile;
  /** Index of its first token in the sequence. */
  readonly start: number;
  readonly tokens: number;
  /** Index of its first token in the file. */
  readonly offsetBytes: number;
}

/** The open files of prepared data. */
export class ShardFiles {
  readonly #manifest: ShardManifest;
  readonly #files: ReadonlyMap<string, ShardFile>;

  private constructor(manifest: ShardManifest, files: ReadonlyMap<string, ShardFile>) {
    this.#manifest = manifest;
    this.#files = files;
  }

  /**
   * Opens every shard and compares its size and header with the manifest; it does not read the tokens.
   * @throws UserError for a shard that is missing, truncated, or not the one in the manifest
   */
  static open(folder: string, manifest: ShardManifest): ShardFiles {
    const files = new Map<string, ShardFile>();
    try {
      for (const entry of manifest.shards) {
        const file = openShardFile(join(folder, entry.name));
        files.set(entry.name, file);
        const header = Buffer.alloc(Math.min(file.bytes, SHARD_HEADER_BYTES));
        file.readSync(header, 0);
        checkShard({ file, header, entry, manifest });
      }
    } catch (error) {
      for (const file of files.values()) file.close();
      throw error;
    }
    return new ShardFiles(manifest, files);
  }

  /** The same for a folder or a prefix, for reading once, and never while this process waits. @throws as {@link openObjects} */
  static async openOnce(folder: string, manifest: ShardManifest): Promise<ShardFiles> {
    return isObjectPath(folder)
      ? await ShardFiles.openObjects(folder, manifest, undefined)
      : ShardFiles.open(folder, manifest);
  }

  /**
   * The same for a prefix in an object store. Tokens are read through a cache of `cacheGiB` on the disk.
   * @throws as {@link open}, and PeerError if the store cannot be reached
   */
  static async openObjects(
    folder: string,
    manifest: ShardManifest,
    cacheGiB: number | undefined,
    note?: (line: string) => void,
  ): Promise<ShardFiles> {
    const objects = await openShardObjects(folder, manifest, cacheGiB, note);
    const files = new Map<string, ShardFile>();
    for (const entry of manifest.shards) {
      const { file, header } = objects.get(entry.name)!;
      checkShard({ file, header, entry, manifest });
      files.set(entry.name, file);
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
      if (tokens > 0) segments.push({ file, start, tokens, offsetBytes: SHARD_HEADER_BYTES + from * tokenBytes });
      start += tokens;
    }
    return new ShardSequence(segments, start, tokenBytes);
  }

  close(): void {
    for (const file of this.#files.values()) file.close();
  }
}

export class ShardSequence implements TokenSequence {
  readonly length: number;
  /** Only for segments in an object store. */
  readonly prefetch?: (from: number, to: number) => void;
  readonly #segments: readonly Segment[];
  readonly #tokenBytes: TokenBytes;

  constructor(segments: readonly Segment[], length: number, tokenBytes: TokenBytes) {
    this.#segments = segments;
    this.length = length;
    this.#tokenBytes = tokenBytes;
    if (segments.some(({ file }) => file.prefetch)) this.prefetch = (from, to) => this.#prefetch(from, to);
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
      segment.file.readSync(bytes.subarray(into.from, into.to), position);
    }
    return this.#tokensOf(bytes);
  }

  /** @throws as {@link subarray} */
  async read(from: number, to: number): Promise<TokenArray> {
    invariant(from >= 0 && from <= to && to <= this.length, `no tokens ${from} to ${to} among ${this.length}`);
    const bytes = new Uint8Array((to - from) * this.#tokenBytes);
    for (const { segment, position, into } of this.#reads(from, to)) {
      await segment.file.read(bytes.subarray(into.from, into.to), position);
    }
    return this.#tokensOf(bytes);
  }

  #prefetch(from: number, to: number): void {
    for (const { segment, position, into } of this.#reads(from, to)) {
      segment.file.prefetch?.(position, position + into.to - into.from);
    }
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

interface OpenShard {
  readonly file: ShardFile;
  /** The first bytes of the file. */
  readonly header: Buffer;
  readonly entry: ShardEntry;
  readonly manifest: ShardManifest;
}

function checkShard({ file: { path, bytes: size }, header: bytes, entry, manifest }: OpenShard): void {
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
