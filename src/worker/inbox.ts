/**
 * Turns the coordinator's messages, which arrive as events, into values that the agent awaits in the order of its algorithm.
 * `end` (a stop, a lost coordinator, a broken ring) rejects every wait at once.
 */
import type { CoordinatorMessage, CoordinatorMessageOf } from '../comm/protocol.ts';

type MessageType = CoordinatorMessage['type'];

/** A message with its payload frame. */
export interface Delivery<T extends MessageType = MessageType> {
  readonly message: CoordinatorMessageOf<T>;
  readonly payload: Uint8Array | undefined;
}

export class Inbox {
  readonly #queue: Delivery[] = [];
  readonly #arrivals = new Set<() => void>();
  readonly #endings = new Set<(cause: unknown) => void>();
  #ended: { readonly cause: unknown } | undefined;

  /** Keeps a message until it is taken. */
  deliver(delivery: Delivery): void {
    this.#queue.push(delivery);
    for (const arrival of this.#arrivals) arrival();
  }

  /** Rejects the present and all later waits with `cause`; only the first call counts. */
  end(cause: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = { cause };
    for (const reject of this.#endings) reject(cause);
  }

  /** The oldest message of one of these types; waits until there is one. */
  take<T extends MessageType>(...types: readonly T[]): Promise<Delivery<T>> {
    let arrival = () => {};
    const arrived = new Promise<Delivery<T>>((resolve) => {
      arrival = () => {
        const index = this.#queue.findIndex(({ message }) => (types as readonly MessageType[]).includes(message.type));
        if (index < 0) return;
        this.#arrivals.delete(arrival);
        // The type was compared above, which TypeScript cannot carry over to T.
        resolve(this.#queue.splice(index, 1)[0] as unknown as Delivery<T>);
      };
    });
    this.#arrivals.add(arrival);
    arrival();
    return this.orEnd(arrived).finally(() => this.#arrivals.delete(arrival));
  }

  /** Settles like `work`, but rejects as soon as the inbox ends. */
  orEnd<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#endings.add(reject);
      work.then(resolve, reject).finally(() => this.#endings.delete(reject));
      if (this.#ended !== undefined) reject(this.#ended.cause);
    });
  }
}
