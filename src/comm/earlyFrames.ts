/**
 * Ring frames that came before their bucket, step or term has begun here: kept in order, bounded in bytes. Above the bound
 * the caller is given a promise to hand to the link, which then delivers nothing until enough frames have been taken out.
 */
import type { RingHeader } from './ringFrames.ts';

export interface EarlyFrame {
  readonly header: RingHeader;
  readonly payload: Uint8Array;
}

/** What keeping a frame costs besides its payload; so that empty frames are bounded too. */
const frameOverheadBytes = 256;

export class EarlyFrames {
  readonly #bytesMax: number;
  #frames: EarlyFrame[] = [];
  #bytes = 0;
  #waiting: Promise<void> | undefined;
  #resume: () => void = () => {};

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Whether the link is waiting for frames to be taken out. */
  get full(): boolean {
    return this.#waiting !== undefined;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps a copy of a frame. The promise, if any, resolves when there is room again. */
  keep(header: RingHeader, payload: Uint8Array): Promise<void> | undefined {
    // A Uint8Array, since `slice` of a Buffer is a view.
    this.#frames.push({ header, payload: new Uint8Array(payload) });
    this.#bytes += payload.byteLength + frameOverheadBytes;
    if (this.#bytes <= this.#bytesMax) return undefined;
    this.#waiting ??= new Promise((resolve) => {
      this.#resume = resolve;
    });
    return this.#waiting;
  }

  /** Removes and returns the frames that `selected` accepts, in the order in which they came. */
  take(selected: (header: RingHeader) => boolean): EarlyFrame[] {
    if (this.#frames.length === 0) return [];
    const taken: EarlyFrame[] = [];
    const left: EarlyFrame[] = [];
    for (const frame of this.#frames) (selected(frame.header) ? taken : left).push(frame);
    this.#frames = left;
    for (const { payload } of taken) this.#bytes -= payload.byteLength + frameOverheadBytes;
    if (this.#bytes <= this.#bytesMax) {
      this.#resume();
      this.#waiting = undefined;
    }
    return taken;
  }
}
