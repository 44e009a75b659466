/**
 * The hashes of the pieces of objects, in bounded memory: 1 TB of data has 512 MB of them. Those of the object that was used least recently are dropped,
 * and fetched again if it is read again.
 */
import { hashBytesOf, type PieceHashes } from './pieceHashes.ts';

interface Known {
  readonly hashes: Promise<PieceHashes>;
  readonly bytes: number;
}

export class RecentPieces {
  readonly #bytesMax: number;
  #bytes = 0;
  /** By the id of the object; the least recently used first. */
  readonly #known = new Map<string, Known>();

  /** @param bytesMax of all hashes; those of one object are kept in any case */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** @param objectBytes the size of the object @throws the error of `fetch`, which is called again the next time */
  async get(id: string, objectBytes: number, fetch: () => Promise<PieceHashes>): Promise<PieceHashes> {
    const known = this.#known.get(id) ?? this.#begin(id, { hashes: fetch(), bytes: hashBytesOf(objectBytes) });
    this.#known.delete(id);
    this.#known.set(id, known);
    for (const [oldest] of this.#known) {
      if (this.#bytes <= this.#bytesMax || oldest === id) break;
      this.#drop(oldest);
    }
    try {
      return await known.hashes;
    } catch (error) {
      if (this.#known.get(id) === known) this.#drop(id);
      throw error;
    }
  }

  #begin(id: string, known: Known): Known {
    this.#known.set(id, known);
    this.#bytes += known.bytes;
    return known;
  }

  #drop(id: string): void {
    this.#bytes -= this.#known.get(id)?.bytes ?? 0;
    this.#known.delete(id);
  }
}
