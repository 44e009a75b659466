/**
 * A rank's part in bringing the state of a term to the ranks without it: it comes from the previous rank, or for the first of them from the coordinator,
 * and is passed on to the next rank while it comes. So the state goes round once, however many ranks need it. Each pair of neighbours has a
 * bounded number of chunks under way: the receiver acknowledges a chunk to the coordinator, which tells the sender.
 *
 * A link that breaks, or a rank that ends, ends the term: in the next one, a rank with the complete state keeps it.
 */
import type { CoordinatorMessageOf } from '../comm/coordinatorMessages.ts';
import type { RingAllReduce } from '../comm/ring.ts';
import type { RingError } from '../comm/ringError.ts';
import type { WorkerMessage } from '../comm/workerMessages.ts';
import type { Inbox } from './inbox.ts';
import { type StateBytes, StateReceiver, type StateSender } from './stateStream.ts';

export interface StatePassingOptions {
  readonly form: CoordinatorMessageOf<'form'>;
  readonly ring: RingAllReduce;
  readonly inbox: Inbox;
  /** Sends to the next rank. */
  readonly stream: StateSender;
  /** Sends to the coordinator. */
  readonly send: (message: WorkerMessage) => void;
  /** The ring does not work: the term is over. */
  readonly onBroken: (error: RingError) => void;
}

export class StatePassing {
  readonly #options: StatePassingOptions;

  constructor(options: StatePassingOptions) {
    this.#options = options;
  }

  /** Sends the complete state of this rank. @param copied resolves when `state` can be read; absent: now */
  start(state: StateBytes, copied?: Promise<void>): void {
    const { form, stream, ring, onBroken } = this.#options;
    ring.pass(form.step, { isSending: () => stream.isUnderWay, onBroken });
    stream.start(form, state, copied);
  }

  /** Resolves when the complete state is stored in `state`. Passing it on may take longer. */
  async receive(state: StateBytes): Promise<void> {
    const { form, stream, ring, inbox, send, onBroken } = this.#options;
    const { term, step } = form;
    let onComplete: () => void = () => {};
    const complete = new Promise<void>((resolve) => {
      onComplete = resolve;
    });
    const receiver = new StateReceiver(state, (offset) => {
      send({ type: 'stateAck', purpose: 'transfer', term, step, offset });
      if (form.send) stream.available(offset);
      if (receiver.isComplete) onComplete();
    });
    if (form.send) stream.start(form, state, undefined, 0);
    const isSending = () => form.send && stream.isUnderWay;
    const isFollower = form.state === 'follow';
    const onPiece = (offset: number, payload: Uint8Array) => receiver.add(offset, payload);
    ring.pass(step, { isSending, onBroken, ...(isFollower && { onPiece }) });
    while (!isFollower && !receiver.isComplete) {
      const { message, payload } = await inbox.take('stateChunk');
      if (message.term !== term) continue;
      ring.countPiece();
      receiver.add(message.offset, payload);
    }
    await inbox.orEnd(complete);
  }
}
