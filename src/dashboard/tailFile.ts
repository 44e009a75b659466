/** The lines of a file that grows, or is put in place anew: read once, then what is added. */
import { type FileHandle, open } from 'node:fs/promises';
import { errorCode, messageOf, PeerError } from '../base/errors.ts';

const chunkBytes = 1 << 20;
/** Lockstep writes no longer line; longer ones are skipped. */
const lineBytesMax = 8 << 20;

export interface TailEvents {
  /** A complete line, without its line end. */
  readonly line: (text: string) => void;
  /** The file is another one than before, or shorter: its lines follow from the first on. */
  readonly restarted: () => void;
}

export class TailFile {
  readonly path: string;
  readonly #events: TailEvents;
  #inode: number | undefined;
  #offset = 0;
  /** The part of a line that has come so far. */
  #rest: Buffer = Buffer.alloc(0);

  constructor(path: string, events: TailEvents) {
    this.path = path;
    this.#events = events;
  }

  /**
   * Tells the lines that are new. A file that is not there yet has none. Lets timers and sockets run in between.
   * @throws PeerError with the path, if it cannot be read
   */
  async read(): Promise<void> {
    try {
      const file = await open(this.path, 'r');
      await this.#readNew(file).finally(() => file.close());
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return;
      // The system does not name the file of a handle.
      throw new PeerError(`cannot read ${this.path}: ${messageOf(error)}`, { cause: error });
    }
  }

  async #readNew(file: FileHandle): Promise<void> {
    const { ino, size } = await file.stat();
    if (this.#inode !== undefined && (ino !== this.#inode || size < this.#offset)) {
      this.#offset = 0;
      this.#rest = Buffer.alloc(0);
      this.#events.restarted();
    }
    this.#inode = ino;
    while (this.#offset < size) {
      const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, size - this.#offset));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, this.#offset);
      if (bytesRead === 0) break;
      this.#offset += bytesRead;
      this.#take(buffer.subarray(0, bytesRead));
      await new Promise((resume) => setImmediate(resume));
    }
  }

  #take(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let from = 0;
    for (let end = all.indexOf(10); end >= 0; end = all.indexOf(10, from)) {
      if (end > from) this.#events.line(all.toString('utf8', from, end));
      from = end + 1;
    }
    this.#rest = all.length - from > lineBytesMax ? Buffer.alloc(0) : Buffer.from(all.subarray(from));
  }
}
