/**
 * A replica's state as a stream of acknowledged chunks, part after part (base/stateParts.ts). Only a few chunks are in flight. Before an update changes data that is not sent yet, the sender copies that data once.
 */
import { setImmediate as eventLoop } from 'node:timers/promises';
import { PeerError } from '../base/errors.ts';
import { stateChunkBytes, stateChunksInFlight } from '../comm/protocol.ts';
import type { StateBlock } from './replicaProtocol.ts';

/** Sends the chunk of a state that begins at `offset`. The bytes are not changed afterwards. */
type Send = (at: { readonly term: number; readonly step: number; readonly offset: number }, chunk: Uint8Array) => void;

/** Shared memory for an entire state. */
export function newState(blocks: readonly StateBlock[]): Float32Array[] {
  return blocks.map(({ length }) => new Float32Array(new SharedArrayBuffer(length * 4)));
}

/** Less than 4 GiB, the maximum size of a Uint8Array in Node 20. */
const pieceBytesMax = 1 << 30;

/** A state as one sequence of bytes, wherever its pieces are stored. */
export class StateBytes {
  readonly byteLength: number;
  readonly #pieces: readonly Uint8Array[];

  /** The tensors of `state`, with the memory layout of `blocks`. */
  static ofBlocks(state: readonly Float32Array[], blocks: readonly StateBlock[]): StateBytes {
    return new StateBytes(
      blocks.flatMap(({ offsets, sizes }, i) =>
        offsets.map((offset, tensor) => state[i]!.subarray(offset, offset + sizes[tensor]!)),
      ),
    );
  }

  /** @param maxBytes longer pieces are cut */
  constructor(pieces: readonly (Float32Array | Uint8Array)[], maxBytes = pieceBytesMax) {
    this.#pieces = pieces.flatMap(({ buffer, byteOffset, byteLength }) =>
      Array.from({ length: Math.ceil(byteLength / maxBytes) }, (_, i) => {
        const start = i * maxBytes;
        return new Uint8Array(buffer, byteOffset + start, Math.min(maxBytes, byteLength - start));
      }),
    );
    this.byteLength = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  copy(from: number, size: number): Uint8Array {
    const copy = new Uint8Array(size);
    for (const [at, piece] of this.#range(from, size)) copy.set(piece, at);
    return copy;
  }

  write(from: number, data: Uint8Array): void {
    for (const [at, piece] of this.#range(from, data.byteLength)) piece.set(data.subarray(at, at + piece.byteLength));
  }

  /** The pieces in a range, and the position of each in it. */
  *#range(from: number, size: number): Generator<[at: number, piece: Uint8Array]> {
    let start = 0;
    for (const piece of this.#pieces) {
      const [first, last] = [Math.max(from, start), Math.min(from + size, start + piece.byteLength)];
      if (first < last) yield [first - from, piece.subarray(first - start, last - start)];
      start += piece.byteLength;
    }
  }
}

/** Copied at once by `keep`, in some tens of milliseconds. */
const keepBytesMax = 64 << 20;

/**
 * Streams a state to the coordinator, while the replica continues with the next step, and beyond it after `keep`; or to the next rank, also while this
 * one is receiving it.
 */
export class StateSender {
  readonly #send: Send;
  readonly #chunkBytes: number;
  readonly #keepBytes: number;
  /** The data still to be sent, from byte `#keptFrom` of the stream on. */
  #state: StateBytes | undefined;
  #keptFrom = 0;
  /** Settles when no update can change `#state` any more. */
  #kept: Promise<void> | undefined;
  #term = 0;
  #step = 0;
  #bytes = 0;
  /** The bytes before this position can be sent. */
  #availableBytes = 0;
  #sentBytes = 0;
  #acknowledgedBytes = 0;

  constructor(send: Send, { chunkBytes = stateChunkBytes, keepBytes = keepBytesMax } = {}) {
    this.#send = send;
    this.#chunkBytes = chunkBytes;
    this.#keepBytes = keepBytes;
  }

  /** Whether a stream has begun that is not acknowledged to its end. */
  get isUnderWay(): boolean {
    return this.#acknowledgedBytes < this.#bytes;
  }

  /**
   * Begins to stream. There is one stream at a time: the coordinator requests the next when this one has arrived or is abandoned.
   * @param copied the state is a copy, which no update changes, so there is nothing to keep; the stream begins when it is complete
   * @param availableBytes how much of `state` can be sent; `available` raises it. Default: all
   */
  start(
    { term, step }: { readonly term: number; readonly step: number },
    state: StateBytes,
    copied?: Promise<void>,
    availableBytes = state.byteLength,
  ): void {
    this.#term = term;
    this.#step = step;
    this.#state = state;
    this.#keptFrom = 0;
    this.#kept = copied && Promise.resolve();
    this.#bytes = state.byteLength;
    this.#availableBytes = availableBytes;
    this.#sentBytes = 0;
    this.#acknowledgedBytes = 0;
    if (copied === undefined) {
      this.#pump();
      return;
    }
    // The copying code reports its own failure. Failures of sending are not caught here.
    const isThisStream = () => this.#state === state;
    void copied.then(
      () => isThisStream() && this.#pump(),
      () => isThisStream() && this.drop(),
    );
  }

  /** More of the state can be sent: everything before this position. */
  available(bytes: number): void {
    this.#availableBytes = bytes;
    this.#pump();
  }

  /** The state is about to change: copies the unsent data, once. The change must wait for it. */
  keep(): Promise<void> {
    this.#kept ??= this.#copyRest();
    return this.#kept;
  }

  /** The rest of the stream of `step` is not needed. */
  drop(step = this.#step): void {
    if (step !== this.#step) return;
    this.#state = undefined;
    this.#bytes = 0;
  }

  /** Sends piece by piece; other messages are processed in between, including those of this stream. */
  async #copyRest(): Promise<void> {
    const state = this.#state;
    const from = this.#sentBytes;
    if (state === undefined) return;
    const pieces: Uint8Array[] = [];
    for (let at = from; at < this.#bytes; at += this.#keepBytes) {
      if (at > from) await eventLoop();
      // It has been sent completely in the meantime, or dropped.
      if (this.#state !== state) return;
      pieces.push(state.copy(at, Math.min(this.#keepBytes, this.#bytes - at)));
    }
    this.#state = new StateBytes(pieces);
    this.#keptFrom = from;
  }

  acknowledged({ term, step, offset }: { term: number; step: number; offset: number }): void {
    if (term !== this.#term || step !== this.#step || offset > this.#sentBytes) return;
    this.#acknowledgedBytes = Math.max(this.#acknowledgedBytes, offset);
    this.#pump();
  }

  #pump(): void {
    while (
      this.#state !== undefined &&
      this.#sentBytes - this.#acknowledgedBytes < this.#chunkBytes * stateChunksInFlight
    ) {
      const size = Math.min(this.#chunkBytes, this.#bytes - this.#sentBytes);
      if (this.#sentBytes + size > this.#availableBytes) return;
      // A copy, because the link may read the chunk later.
      const chunk = this.#state.copy(this.#sentBytes - this.#keptFrom, size);
      const at = { term: this.#term, step: this.#step, offset: this.#sentBytes };
      // Before it is sent: a failure of the link ends the stream.
      this.#sentBytes += size;
      this.#send(at, chunk);
      if (this.#sentBytes === this.#bytes) this.#state = undefined;
    }
  }
}

/** Stores the state that is streamed to a worker without one. */
export class StateReceiver {
  readonly #state: StateBytes;
  readonly #acknowledge: (offset: number) => void;
  #receivedBytes = 0;

  constructor(state: StateBytes, acknowledge: (offset: number) => void) {
    this.#state = state;
    this.#acknowledge = acknowledge;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  get isComplete(): boolean {
    return this.#receivedBytes === this.#state.byteLength;
  }

  /** @throws PeerError if the chunk is not the next one or exceeds the state */
  add(offset: number, payload: Uint8Array | undefined): void {
    const { byteLength } = this.#state;
    const size = payload?.byteLength ?? 0;
    if (payload === undefined || size === 0 || offset !== this.#receivedBytes || offset + size > byteLength) {
      throw new PeerError(
        `expected state from byte ${this.#receivedBytes} of ${byteLength}, received ${size} bytes from ${offset}`,
      );
    }
    this.#state.write(offset, payload);
    this.#receivedBytes += size;
    this.#acknowledge(this.#receivedBytes);
  }
}
