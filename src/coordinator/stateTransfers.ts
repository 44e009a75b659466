/**
 * Brings a step's state to workers without one: from a member, whose chunks it forwards (stateRelay.ts), or from a
 * checkpoint (checkpointer.ts).
 */
import { PeerError } from '../base/errors.ts';
import { StateFeed, type StateStore, type StoredState, type StreamPosition } from './checkpointer.ts';
import type { Effect } from './core/runState.ts';
import { StateRelay } from './stateRelay.ts';

type Transfer = Extract<Effect, { kind: 'transfer' }>;

export interface StateTransfersOptions {
  readonly store: StateStore;
  /** The checkpoint that the run resumes from, already opened. */
  readonly resume: StoredState | undefined;
  /** Sends a chunk to a worker. */
  readonly forward: (to: string, at: StreamPosition, chunk: Uint8Array) => void;
  /** Tells the streaming member that every receiver has everything before this position. */
  readonly acknowledge: (from: string, at: StreamPosition) => void;
  /** A checkpoint could not be read. */
  readonly onError: (error: unknown) => void;
}

export class StateTransfers {
  readonly #options: StateTransfersOptions;
  readonly #feeds = new Map<string, { feed: StateFeed; term: number }>();
  #relay: StateRelay | undefined;
  /** Number of transfers so far. */
  #turn = 0;

  constructor(options: StateTransfersOptions) {
    this.#options = options;
  }

  /** Replaces the previous transfer. */
  begin({ from, to, term, step, tensors }: Transfer): void {
    this.#relay = undefined;
    this.stop();
    this.#turn++;
    if (from === 'checkpoint') {
      void this.#feedCheckpoint({ to, term, step, tensors }).catch(this.#options.onError);
      return;
    }
    const { forward, acknowledge } = this.#options;
    this.#relay = new StateRelay({ from, to, term, step, forward, acknowledge });
  }

  /** A chunk from a member that streams its state. */
  chunk(from: string, { term, step, offset }: StreamPosition, payload: Uint8Array | undefined): void {
    this.#relay?.chunk(from, { term, step, offset }, payload);
  }

  /** A worker has everything before `offset`. */
  acknowledged(by: string, { term, step, offset }: StreamPosition): void {
    this.#relay?.acknowledged(by, { term, step, offset });
    const feed = this.#feeds.get(by);
    if (feed?.term === term) feed.feed.acknowledged(offset);
  }

  stop(): void {
    for (const { feed } of this.#feeds.values()) feed.stop();
    this.#feeds.clear();
  }

  async #feedCheckpoint({ to, term, step, tensors }: Omit<Transfer, 'kind' | 'from'>): Promise<void> {
    const { resume, store, forward } = this.#options;
    const turn = this.#turn;
    const checkpoint = resume?.trainer?.step === step ? resume : (await store.newestWhole())?.checkpoint;
    if (checkpoint?.trainer?.step !== step) {
      throw new PeerError(`the checkpoint of step ${step}, from which the run was to resume, can no longer be read`);
    }
    if (turn !== this.#turn) return;
    await Promise.all(
      to.map((id) => {
        const feed = new StateFeed();
        this.#feeds.set(id, { feed, term });
        return feed.run(checkpoint, tensors, (offset, chunk) => forward(id, { term, step, offset }, chunk));
      }),
    );
  }
}
