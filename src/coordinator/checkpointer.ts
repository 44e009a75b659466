/**
 * Writes a worker's state stream to a checkpoint on disk, in the background, and streams a checkpoint to workers that
 * resume. Acknowledging chunks only when they are stored bounds the amount in flight.
 */
import { fullMessageOf, PeerError } from '../base/errors.ts';
import { type StateTensor, sourceOf, stateParts, tensorsOf } from '../base/stateParts.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { CheckpointContents, CheckpointWriter } from '../checkpoint/writer.ts';
import { stateChunkBytes, stateChunksInFlight } from '../comm/protocol.ts';

/** The interface of a checkpoint store: a run directory's, or one in memory. */
export interface StateStore {
  /** @param keepsOlder called when the checkpoint is written: whether the older ones stay, whatever their number */
  beginWrite(
    contents: CheckpointContents,
    keepsOlder?: () => boolean,
  ): Promise<Pick<CheckpointWriter, 'write' | 'commit' | 'abort'>>;
  newestWhole(): Promise<{ readonly checkpoint: StoredState } | undefined>;
}

/** A requested checkpoint. */
export type StoredState = Pick<Checkpoint, 'trainer' | 'stream'>;

/** The outcome of a checkpoint. */
export type CheckpointOutcome = WrittenCheckpoint | FailedCheckpoint;

/** It is complete and on disk. */
export interface WrittenCheckpoint {
  /** Number of updates it contains. */
  readonly step: number;
  /** Its folder, absolute. */
  readonly path: string;
}

/** A checkpoint that could not be written. The run continues, and its files were removed. */
export interface FailedCheckpoint {
  /** Number of updates it would have contained. */
  readonly step: number;
  /** The reason. */
  readonly error: string;
}

/** The position in a state stream. */
export interface StreamPosition {
  readonly term: number;
  readonly step: number;
  readonly offset: number;
}

interface Incoming {
  readonly term: number;
  readonly step: number;
  readonly from: string;
  readonly bytes: number;
  receivedBytes: number;
  writer: Pick<CheckpointWriter, 'write' | 'commit' | 'abort'> | undefined;
  /** Writes in order of arrival. */
  queue: Promise<void>;
}

export class Checkpointer {
  readonly #store: StateStore;
  readonly #keepsOlder: () => boolean;
  readonly #acknowledge: (to: string, at: StreamPosition) => void;
  readonly #giveUp: (to: string, step: number) => void;
  readonly #onOutcome: (outcome: CheckpointOutcome) => void;
  #incoming: Incoming | undefined;

  /**
   * @param options.keepsOlder whether a checkpoint written now leaves all older ones in place. Default: it may replace one
   * @param options.giveUp tells the sender of a stream to stop sending
   */
  constructor(options: {
    store: StateStore;
    keepsOlder?: () => boolean;
    acknowledge: (to: string, at: StreamPosition) => void;
    giveUp: (to: string, step: number) => void;
    onOutcome: (outcome: CheckpointOutcome) => void;
  }) {
    this.#store = options.store;
    this.#keepsOlder = options.keepsOlder ?? (() => false);
    this.#acknowledge = options.acknowledge;
    this.#giveUp = options.giveUp;
    this.#onOutcome = options.onOutcome;
  }

  /** Opens a checkpoint for the stream of `bytes` bytes that `from` sends next. */
  begin(options: { term: number; step: number; from: string; bytes: number; contents: CheckpointContents }): void {
    const { term, step, from, bytes, contents } = options;
    const incoming: Incoming = {
      term,
      step,
      from,
      bytes,
      receivedBytes: 0,
      writer: undefined,
      queue: Promise.resolve(),
    };
    this.#incoming = incoming;
    this.#enqueue(incoming, async () => {
      incoming.writer = await this.#store.beginWrite(contents, this.#keepsOlder);
    });
  }

  /** Adds a chunk of the stream. A chunk that does not belong to it ends the checkpoint, but not the run. */
  receive(from: string, { term, step, offset }: StreamPosition, payload: Uint8Array | undefined): void {
    const incoming = this.#incoming;
    if (incoming === undefined || incoming.from !== from || incoming.step !== step || incoming.term !== term) return;
    const size = payload?.byteLength ?? 0;
    const isNext = offset === incoming.receivedBytes && size > 0 && offset + size <= incoming.bytes;
    incoming.receivedBytes += size;
    this.#enqueue(incoming, async () => {
      if (payload === undefined || !isNext) {
        throw new PeerError(`expected state from byte ${offset} of ${incoming.bytes}, received ${size} bytes`);
      }
      await incoming.writer?.write(payload);
      this.#acknowledge(from, { term, step, offset: offset + size });
      if (offset + size < incoming.bytes || incoming.writer === undefined) return;
      // Abandoned in the meantime.
      if (this.#incoming !== incoming) return;
      const path = await incoming.writer.commit();
      this.#forget(incoming);
      this.#onOutcome({ step, path });
    });
  }

  /** Abandons the checkpoint being written, if any, and removes its files. */
  async abort(): Promise<void> {
    const incoming = this.#incoming;
    this.#incoming = undefined;
    await incoming?.queue;
    await incoming?.writer?.abort();
  }

  /** A new checkpoint may have begun since this one was abandoned. */
  #forget(incoming: Incoming): void {
    if (this.#incoming === incoming) this.#incoming = undefined;
  }

  #enqueue(incoming: Incoming, work: () => Promise<void>): void {
    incoming.queue = incoming.queue.then(async () => {
      if (this.#incoming !== incoming) return;
      try {
        await work();
      } catch (error) {
        this.#forget(incoming);
        this.#giveUp(incoming.from, incoming.step);
        await incoming.writer?.abort();
        this.#onOutcome({ step: incoming.step, error: fullMessageOf(error) });
      }
    });
  }
}

/** Streams a checkpoint's state to one worker, a few chunks ahead of its acknowledgements. */
export class StateFeed {
  readonly #chunkBytes: number;
  #sentBytes = 0;
  #acknowledgedBytes = 0;
  #wake: () => void = () => {};
  #stopped = false;

  constructor(chunkBytes = stateChunkBytes) {
    this.#chunkBytes = chunkBytes;
  }

  /**
   * @param tensors the receiver's, in the order of its state
   * @param send sends one chunk that starts at `offset`
   */
  async run(
    checkpoint: StoredState,
    tensors: readonly Pick<StateTensor, 'name' | 'parts'>[],
    send: (offset: number, chunk: Uint8Array) => void,
  ) {
    for (const part of stateParts) {
      const names = tensorsOf(part, tensors).map(({ name }) => name);
      for await (const chunk of checkpoint.stream(sourceOf(part, tensors), names)) {
        for (let start = 0; start < chunk.byteLength; start += this.#chunkBytes) {
          while (
            this.#sentBytes - this.#acknowledgedBytes > this.#chunkBytes * (stateChunksInFlight - 1) &&
            !this.#stopped
          ) {
            await new Promise<void>((resolve) => {
              this.#wake = resolve;
            });
          }
          if (this.#stopped) return;
          const piece = chunk.subarray(start, Math.min(start + this.#chunkBytes, chunk.byteLength));
          // A copy, because the stream may reuse its buffer before the link has sent it.
          const offset = this.#sentBytes;
          this.#sentBytes += piece.byteLength;
          send(offset, piece.slice());
        }
      }
    }
  }

  /** The receiver has everything sent before `offset`. It cannot have more than was sent. */
  acknowledged(offset: number): void {
    if (offset > this.#sentBytes) return;
    this.#acknowledgedBytes = Math.max(this.#acknowledgedBytes, offset);
    this.#wake();
  }

  stop(): void {
    this.#stopped = true;
    this.#wake();
  }
}
