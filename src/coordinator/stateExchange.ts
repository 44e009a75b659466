/**
 * The states that travel between workers and the checkpoint store, in both directions: a worker's becomes a checkpoint (checkpointer.ts), and workers
 * without one receive it (stateTransfers.ts). Which state travels when is decided by the core.
 */
import { fullMessageOf } from '../base/errors.ts';
import type { StateTensor } from '../base/stateParts.ts';
import type { CheckpointContents } from '../checkpoint/writer.ts';
import type { WorkerMessageOf } from '../comm/workerMessages.ts';
import { modelOf } from '../config/groups/model.ts';
import { Checkpointer, type CheckpointOutcome } from './checkpointer.ts';
import type { CoordinatorOptions } from './coordinatorOptions.ts';
import type { Effect } from './core/effects.ts';
import type { Decisions } from './decisions.ts';
import type { Outbox } from './outbox.ts';
import type { RolloutDriver } from './rollouts/rolloutDriver.ts';
import type { RunWriter } from './runWriter.ts';
import { StateTransfers } from './stateTransfers.ts';

/** What it works with. */
export interface StateExchangeParts {
  readonly decisions: Decisions;
  readonly outbox: Outbox;
  readonly writer: RunWriter;
  readonly rollouts: RolloutDriver | undefined;
  /** A checkpoint could not be read. */
  readonly onError: (error: unknown) => void;
}

export class StateExchange {
  readonly #options: CoordinatorOptions;
  readonly #parts: StateExchangeParts;
  readonly #checkpointer: Checkpointer;
  readonly #transfers: StateTransfers;
  #isAbandoned = false;

  constructor(options: CoordinatorOptions, parts: StateExchangeParts) {
    const { decisions, outbox, onError } = parts;
    this.#options = options;
    this.#parts = parts;
    this.#checkpointer = new Checkpointer({
      store: options.store,
      // If a run gives up, its last checkpoint may have to be removed, and the run then continues from the one before.
      keepsOlder: () => decisions.state.givingUp !== undefined,
      acknowledge: (to, at) => outbox.send(to, { type: 'stateAck', purpose: 'checkpoint', ...at }),
      giveUp: (to, step) => outbox.send(to, { type: 'stateGivenUp', step }),
      onOutcome: (outcome) => this.#checkpointEnded(outcome),
    });
    const purpose = 'transfer';
    this.#transfers = new StateTransfers({
      store: options.store,
      resume: options.resume,
      chunkBytes: options.stateChunkBytes,
      forward: (to, at, chunk) => outbox.send(to, { type: 'stateChunk', purpose, ...at }, chunk),
      acknowledge: (to, at) => outbox.send(to, { type: 'stateAck', purpose, ...at }),
      onError,
    });
  }

  /** A worker is about to send its state for a checkpoint. */
  beginCheckpoint({ term, step, from, bytes, tensors }: Extract<Effect, { kind: 'beginCheckpoint' }>): void {
    this.#checkpointer.begin({ term, step, from, bytes, contents: this.#contents(step, tensors) });
  }

  /** It may be too late, if its outcome was already reported. */
  async abandonCheckpoint(step: number): Promise<void> {
    await this.#checkpointer.abort().catch((error: unknown) => this.#options.listener.warning(fullMessageOf(error)));
    this.#parts.decisions.handle({ kind: 'checkpointFailed', step });
  }

  /** Workers are to receive the state. */
  transfer(effect: Extract<Effect, { kind: 'transfer' }>): void {
    this.#transfers.begin(effect);
  }

  /** A chunk of a worker's state. */
  received(from: string, message: WorkerMessageOf<'stateChunk'>, payload: Uint8Array | undefined): void {
    this.#checkpointer.receive(from, message, payload);
  }

  /** A worker has a chunk of the state that it is to receive. */
  acknowledged(by: string, message: WorkerMessageOf<'stateAck'>): void {
    this.#transfers.acknowledged(by, message);
  }

  /** The run directory belongs to another process: a checkpoint being written is removed, and none is reported any more. */
  abandon(): void {
    this.#isAbandoned = true;
    void this.#checkpointer.abort();
  }

  /** A checkpoint being written is removed. */
  async close(): Promise<void> {
    this.#transfers.stop();
    await this.#checkpointer.abort();
  }

  #contents(step: number, tensors: readonly StateTensor[]): CheckpointContents {
    const { config, data } = this.#options;
    const { decisions, writer, rollouts } = this.#parts;
    const { samplesSeen, valLoss } = writer.checkpointFacts(step);
    const { maxSteps } = decisions.state.plan;
    return {
      tensors,
      modelConfig: modelOf(config.model, data.vocabSize),
      tokenizerFiles: data.tokenizer.files(),
      endOfText: data.tokenizer.endOfText,
      trainer: {
        step,
        seed: config.train.seed,
        data: { sha256: data.sha256, samplesSeen, reference: data.reference, ...rollouts?.checkpointFacts(step) },
        valLoss,
        config: { ...config, train: { ...config.train, maxSteps } },
      },
    };
  }

  #checkpointEnded(outcome: CheckpointOutcome): void {
    // Listeners may write, too.
    if (this.#isAbandoned) return;
    this.#options.listener.checkpoint(outcome);
    if (!('error' in outcome)) this.#transfers.checkpointWritten(outcome.step);
    const kind = 'error' in outcome ? 'checkpointFailed' : 'checkpointWritten';
    this.#parts.decisions.handle({ kind, step: outcome.step });
  }
}
