/**
 * Brings a step's state to workers without one. Between neighbours it travels round the ring: each passes on what it receives, so the coordinator sends the
 * state of a checkpoint once (checkpointer.ts), and otherwise only passes on acknowledgements.
 */
import { PeerError } from '../base/errors.ts';
import { StateFeed, type StateStore, type StoredState, type StreamPosition } from './checkpointer.ts';
import type { Effect } from './core/effects.ts';

type Transfer = Extract<Effect, { kind: 'transfer' }>;

export interface StateTransfersOptions {
  readonly store: StateStore;
  /** The checkpoint that the run resumes from, already opened. */
  readonly resume: StoredState | undefined;
  /** Bytes of a chunk. Default: that of the protocol. */
  readonly chunkBytes?: number | undefined;
  /** Sends a chunk to a worker. */
  readonly forward: (to: string, at: StreamPosition, chunk: Uint8Array) => void;
  /** Tells the rank that sends to a worker that this one has everything before this position. */
  readonly acknowledge: (from: string, at: StreamPosition) => void;
  /** A checkpoint could not be read. */
  readonly onError: (error: unknown) => void;
}

export class StateTransfers {
  readonly #options: StateTransfersOptions;
  #resume: StoredState | undefined;
  #feed: { readonly feed: StateFeed; readonly to: string; readonly term: number } | undefined;
  /** The rank that sends, by the one that receives. */
  #senders: ReadonlyMap<string, string> = new Map();
  #term = 0;
  /** Number of transfers so far. */
  #turn = 0;

  constructor(options: StateTransfersOptions) {
    this.#options = options;
    this.#resume = options.resume;
  }

  /** A checkpoint was written. One of the step that the run resumes from may have replaced the files of that one. */
  checkpointWritten(step: number): void {
    if (this.#resume?.trainer?.step === step) this.#resume = undefined;
  }

  /** Replaces the previous transfer. */
  begin(transfer: Transfer): void {
    const { first, passes, term } = transfer;
    this.stop();
    this.#turn++;
    this.#term = term;
    this.#senders = new Map(passes.map(({ from, to }) => [to, from]));
    if (first !== undefined) void this.#feedCheckpoint(first, transfer).catch(this.#options.onError);
  }

  /** A worker has everything before `offset`. */
  acknowledged(by: string, { term, step, offset }: StreamPosition): void {
    if (term !== this.#term) return;
    const sender = this.#senders.get(by);
    if (sender !== undefined) this.#options.acknowledge(sender, { term, step, offset });
    else if (this.#feed?.to === by) this.#feed.feed.acknowledged(offset);
  }

  stop(): void {
    this.#feed?.feed.stop();
    this.#feed = undefined;
  }

  async #feedCheckpoint(to: string, { term, step, tensors }: Transfer): Promise<void> {
    const { store, forward, chunkBytes } = this.#options;
    const turn = this.#turn;
    const resume = this.#resume;
    const checkpoint = resume?.trainer?.step === step ? resume : (await store.newestWhole())?.checkpoint;
    if (checkpoint?.trainer?.step !== step) {
      throw new PeerError(`the checkpoint of step ${step}, from which the run was to resume, can no longer be read`);
    }
    if (turn !== this.#turn) return;
    const feed = new StateFeed(chunkBytes);
    this.#feed = { feed, to, term };
    await feed.run(checkpoint, tensors, (offset, chunk) => forward(to, { term, step, offset }, chunk));
  }
}
