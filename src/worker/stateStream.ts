/**
 * A replica's state (parameters, first and second moments) as a stream of chunks with acknowledgements, so that neither
 * side holds more than a few chunks beyond the state itself.
 */
import { PeerError } from '../base/errors.ts';
import { stateChunkBytes, stateChunksInFlight, type WorkerMessage } from '../comm/protocol.ts';

type Send = (message: WorkerMessage, payload?: Uint8Array) => void;

/** Parts of a state stream: parameters, m, v. */
const parts = 3;

/** Streams a snapshot to the coordinator while the replica goes on with the next steps. */
export class StateSender {
  readonly #send: Send;
  #state: Float32Array | undefined;
  #step = 0;
  #sentBytes = 0;
  #acknowledgedBytes = 0;

  constructor(send: Send) {
    this.#send = send;
  }

  /** The memory for a snapshot of parameters of these sizes; the same at every call. */
  buffer(sizes: readonly number[]): Float32Array {
    const length = parts * sizes.reduce((sum, size) => sum + size, 0);
    this.#state ??= new Float32Array(new SharedArrayBuffer(length * 4));
    return this.#state;
  }

  /** Begins to stream the buffer. One stream at a time: the coordinator asks for the next when it has this one. */
  start(step: number): void {
    this.#step = step;
    this.#sentBytes = 0;
    this.#acknowledgedBytes = 0;
    this.#pump();
  }

  acknowledged(step: number, offset: number): void {
    if (step !== this.#step || offset > this.#sentBytes) return;
    this.#acknowledgedBytes = Math.max(this.#acknowledgedBytes, offset);
    this.#pump();
  }

  #pump(): void {
    const state = this.#state;
    if (state === undefined) return;
    while (
      this.#sentBytes < state.byteLength &&
      this.#sentBytes - this.#acknowledgedBytes < stateChunkBytes * stateChunksInFlight
    ) {
      const size = Math.min(stateChunkBytes, state.byteLength - this.#sentBytes);
      const chunk = new Uint8Array(state.buffer, state.byteOffset + this.#sentBytes, size);
      // A copy: the buffer is shared memory, and the link may read the chunk later.
      this.#send({ type: 'stateChunk', step: this.#step, offset: this.#sentBytes }, chunk.slice());
      this.#sentBytes += size;
    }
  }
}

/** Gathers the state that the coordinator streams to a worker that resumes. */
export class StateReceiver {
  readonly state: Float32Array;
  readonly #acknowledge: (offset: number) => void;
  #receivedBytes = 0;

  constructor(sizes: readonly number[], acknowledge: (offset: number) => void) {
    const length = parts * sizes.reduce((sum, size) => sum + size, 0);
    this.state = new Float32Array(new SharedArrayBuffer(length * 4));
    this.#acknowledge = acknowledge;
  }

  get isComplete(): boolean {
    return this.#receivedBytes === this.state.byteLength;
  }

  /** @throws PeerError if the chunk is not the next one or goes beyond the state */
  add(offset: number, payload: Uint8Array | undefined): void {
    const size = payload?.byteLength ?? 0;
    if (
      payload === undefined ||
      size === 0 ||
      offset !== this.#receivedBytes ||
      offset + size > this.state.byteLength
    ) {
      throw new PeerError(
        `expected state from byte ${this.#receivedBytes} of ${this.state.byteLength}, received ${size} bytes from ${offset}`,
      );
    }
    new Uint8Array(this.state.buffer, offset, size).set(payload);
    this.#receivedBytes += size;
    this.#acknowledge(this.#receivedBytes);
  }
}
