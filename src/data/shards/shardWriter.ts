/**
 * Writes a sequence of tokens as shards of equal size. Everything written before a {@link ShardWriter.flush} is on disk, and a later
 * process can resume there: the shards get the same bytes as without the interruption.
 */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { invariant } from '../../base/errors.ts';
import { damaged } from '../../base/strictJson.ts';
import { hashInto } from '../../base/wholeFiles.ts';
import { writeWhole } from '../../base/writeWhole.ts';
import { encodePieces, PIECES_SUFFIX } from '../../objectStore/pieceHashes.ts';
import type { TokenArray } from '../tokenArray.ts';
import { encodeShardHeader, SHARD_HEADER_BYTES, type ShardHeader } from './shardFormat.ts';
import type { ShardEntry } from './shardManifest.ts';

const BUFFER_BYTES = 2 ** 20;

export interface ShardWriterOptions extends Pick<ShardHeader, 'tokenBytes' | 'vocabSize' | 'tokenizerSha256'> {
  readonly folder: string;
  /** Shards are named PREFIX-00000.bin and so on. */
  readonly prefix: string;
  /** Number of tokens in a shard; the last one may have fewer. */
  readonly shardTokens: number;
}

/** A writer's position at a flush. */
export interface ShardWriterState {
  /** The complete shards. */
  readonly shards: readonly ShardEntry[];
  /** Number of tokens in the next, incomplete shard. */
  readonly openTokens: number;
}

interface OpenShard {
  readonly name: string;
  readonly file: FileHandle;
  readonly hash: Hash;
  /** Number of tokens in the file. */
  tokens: number;
}

export class ShardWriter {
  readonly #options: ShardWriterOptions;
  readonly #shards: ShardEntry[];
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #buffered = 0;
  #open: OpenShard | undefined;

  private constructor(options: ShardWriterOptions, shards: readonly ShardEntry[]) {
    this.#options = options;
    this.#shards = [...shards];
  }

  /** Resumes from `state` and drops anything written after it. @throws UserError if a file has less than that */
  static async open(options: ShardWriterOptions, state: ShardWriterState): Promise<ShardWriter> {
    const writer = new ShardWriter(options, state.shards);
    if (state.openTokens === 0) return writer;
    const name = writer.#nextName();
    const path = join(options.folder, name);
    const bytes = state.openTokens * options.tokenBytes;
    const file = await open(path, 'r+');
    try {
      const { size } = await file.stat();
      if (size < SHARD_HEADER_BYTES + bytes) {
        throw damaged(
          path,
          `it has ${size} bytes, but ${SHARD_HEADER_BYTES + bytes} had been written: remove ${options.folder}`,
        );
      }
      await file.truncate(SHARD_HEADER_BYTES + bytes);
      const hash = await hashInto(createHash('sha256'), path, bytes, SHARD_HEADER_BYTES);
      writer.#open = { name, file, hash, tokens: state.openTokens };
      return writer;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Number of tokens appended so far, in all shards. */
  get tokens(): number {
    const complete = this.#shards.reduce((sum, { tokens }) => sum + tokens, 0);
    return complete + (this.#open?.tokens ?? 0) + this.#buffered / this.#options.tokenBytes;
  }

  /** The complete shards. */
  get shardCount(): number {
    return this.#shards.length;
  }

  /** @throws the system's error when the disk fails */
  async append(tokens: TokenArray): Promise<void> {
    const { tokenBytes, shardTokens } = this.#options;
    invariant(
      tokens.BYTES_PER_ELEMENT === tokenBytes,
      `tokens of ${tokenBytes} bytes, not ${tokens.BYTES_PER_ELEMENT}`,
    );
    for (let from = 0; from < tokens.length; ) {
      const shard = this.#open ?? (await this.#begin());
      const roomInShard = shardTokens - shard.tokens - this.#buffered / tokenBytes;
      const roomInBuffer = (BUFFER_BYTES - this.#buffered) / tokenBytes;
      const part = tokens.subarray(from, from + Math.min(roomInShard, roomInBuffer));
      this.#buffer.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), this.#buffered);
      this.#buffered += part.byteLength;
      from += part.length;
      if (part.length === roomInShard) await this.#finishShard(shard);
      else if (part.length === roomInBuffer) await this.#writeBuffer(shard);
    }
  }

  /** Syncs everything so far to disk. */
  async flush(): Promise<ShardWriterState> {
    if (this.#open !== undefined) {
      await this.#writeBuffer(this.#open);
      await this.#open.file.sync();
    }
    return { shards: [...this.#shards], openTokens: this.#open?.tokens ?? 0 };
  }

  /** Completes the last shard. @returns all shards */
  async finish(): Promise<ShardEntry[]> {
    if (this.#open !== undefined) await this.#finishShard(this.#open);
    return [...this.#shards];
  }

  /** Closes the file; anything not flushed is lost. */
  async close(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    await open?.file.close();
  }

  #nextName(): string {
    return `${this.#options.prefix}-${String(this.#shards.length).padStart(5, '0')}.bin`;
  }

  async #begin(): Promise<OpenShard> {
    const name = this.#nextName();
    const path = join(this.#options.folder, name);
    // A process that was killed before its first flush may have left one.
    await rm(path, { force: true });
    const file = await open(path, 'wx');
    this.#open = { name, file, hash: createHash('sha256'), tokens: 0 };
    // An all-zero header, so that nothing mistakes the file for a shard before it is complete.
    await writeFully(file, Buffer.alloc(SHARD_HEADER_BYTES), 0);
    return this.#open;
  }

  async #writeBuffer(shard: OpenShard): Promise<void> {
    const { tokenBytes } = this.#options;
    const bytes = this.#buffer.subarray(0, this.#buffered);
    await writeFully(shard.file, bytes, SHARD_HEADER_BYTES + shard.tokens * tokenBytes);
    shard.hash.update(bytes);
    shard.tokens += bytes.length / tokenBytes;
    this.#buffered = 0;
  }

  async #finishShard(shard: OpenShard): Promise<void> {
    await this.#writeBuffer(shard);
    const { tokenBytes, vocabSize, tokenizerSha256 } = this.#options;
    const sha256 = shard.hash.digest('hex');
    const header = { tokenBytes, vocabSize, tokenizerSha256, tokens: shard.tokens, tokensSha256: sha256 };
    await writeFully(shard.file, encodeShardHeader(header), 0);
    await shard.file.sync();
    await this.close();
    const path = join(this.#options.folder, shard.name);
    await writeWhole(`${path}${PIECES_SUFFIX}`, await encodePieces(path, sha256));
    this.#shards.push({ name: shard.name, tokens: shard.tokens, sha256 });
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
