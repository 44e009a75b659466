/**
 * Zstandard data, frame by frame. fzstd decompresses; this module adds what it lacks: it verifies checksums of the content and skips
 * skippable frames (of pzstd and the seekable format). Format: RFC 8878.
 */
import { Decompress } from 'fzstd';
import xxhash, { type XXHash } from 'xxhash-wasm';
import { messageOf } from '../../base/errors.ts';

const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50;
/** Size of the pieces passed to the decoder, which returns everything that a piece decompresses to. */
const pushBytes = 2 ** 12;

/** The next field of fixed length. */
type Step = 'magic' | 'skippedSize' | 'descriptor' | 'frameHeader' | 'blockHeader' | 'checksum';

/** @throws Error for data that is cut off, damaged or in another format */
export async function* unzstd(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const { create64 } = await xxhash();
  const frames = new Frames(create64);
  for await (const chunk of bytes) yield* frames.push(chunk);
  frames.end();
}

class Frames {
  readonly #newHash: () => XXHash<bigint>;
  #step: Step = 'magic';
  /** Number of bytes that the step needs, and the available ones. */
  #wanted = 4;
  #head = Buffer.alloc(0);
  /** Number of bytes of a block, or of a skippable frame, before the next step. */
  #inside = 0;
  #frame: Frame | undefined;

  constructor(newHash: () => XXHash<bigint>) {
    this.#newHash = newHash;
  }

  *push(chunk: Buffer): Generator<Buffer> {
    for (let at = 0; at < chunk.length; ) {
      const length = Math.min(this.#inside > 0 ? this.#inside : this.#wanted - this.#head.length, chunk.length - at);
      const part = chunk.subarray(at, at + length);
      at += length;
      if (this.#inside > 0) {
        this.#inside -= length;
        if (this.#frame !== undefined) yield* this.#frame.push(part);
      } else {
        this.#head = Buffer.concat([this.#head, part]);
        if (this.#head.length < this.#wanted) continue;
        const head = this.#head;
        this.#head = Buffer.alloc(0);
        yield* this.#take(head);
      }
    }
  }

  end(): void {
    if (this.#step !== 'magic' || this.#head.length + this.#inside > 0) throw new Error('it is cut off');
  }

  *#take(head: Buffer): Generator<Buffer> {
    switch (this.#step) {
      case 'magic': {
        const magic = head.readUInt32LE(0);
        // The last one may have ended with a block.
        this.#frame = undefined;
        if (magic >>> 4 === skippableMagic >>> 4) return this.#next('skippedSize', 4);
        if (magic !== frameMagic) throw new Error('something else follows a part of it, or it is not zstd data');
        this.#frame = new Frame(this.#newHash());
        break;
      }
      case 'skippedSize':
        this.#inside = head.readUInt32LE(0);
        return this.#next('magic', 4);
      default:
    }
    const frame = this.#frame!;
    yield* frame.push(head);
    switch (this.#step) {
      case 'magic':
        return this.#next('descriptor', 1);
      case 'descriptor':
        return this.#next('frameHeader', frame.describe(head[0]!));
      case 'frameHeader':
        return this.#next('blockHeader', 3);
      case 'blockHeader': {
        const bits = head.readUIntLE(0, 3);
        const isRepeated = ((bits >> 1) & 3) === 1;
        this.#inside = isRepeated ? 1 : bits >> 3;
        if ((bits & 1) === 0) return this.#next('blockHeader', 3);
        return frame.hasChecksum ? this.#next('checksum', 4) : this.#next('magic', 4);
      }
      case 'checksum':
        frame.compare(head.readUInt32LE(0));
        return this.#next('magic', 4);
      default:
    }
  }

  #next(step: Step, wanted: number): void {
    this.#step = step;
    this.#wanted = wanted;
  }
}

/** A frame with content, while it is decompressed. */
class Frame {
  hasChecksum = false;
  readonly #hash: XXHash<bigint>;
  readonly #ready: Buffer[] = [];
  readonly #decoder = new Decompress((chunk) => {
    // The decoder reuses the memory.
    if (chunk.length > 0) this.#ready.push(Buffer.from(chunk));
  });

  constructor(hash: XXHash<bigint>) {
    this.#hash = hash;
  }

  *push(bytes: Buffer): Generator<Buffer> {
    for (let at = 0; at < bytes.length; at += pushBytes) {
      try {
        this.#decoder.push(bytes.subarray(at, at + pushBytes));
      } catch (cause) {
        const isLarge = messageOf(cause).includes('window size');
        throw new Error(isLarge ? 'its window is larger than 2046 MB' : 'its content is damaged', { cause });
      }
      for (const chunk of this.#ready.splice(0)) {
        if (this.hasChecksum) this.#hash.update(chunk);
        yield chunk;
      }
    }
  }

  /** Takes the descriptor. @returns how many bytes of the header follow it */
  describe(descriptor: number): number {
    this.hasChecksum = (descriptor & 4) !== 0;
    const isSingleSegment = (descriptor & 32) !== 0;
    const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 3]!;
    const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
    return (isSingleSegment ? 0 : 1) + dictionaryIdBytes + sizeBytes;
  }

  compare(checksum: number): void {
    if (Number(this.#hash.digest() & 0xffffffffn) !== checksum)
      throw new Error('its content does not have its checksum');
  }
}
