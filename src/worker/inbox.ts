/**
 * Turns the coordinator's messages, which arrive as events, into values that the agent awaits in the order of its algorithm.
 * `end` (a stop, a permanently lost coordinator) rejects every wait at once. `interrupt` (a new term, a broken ring) rejects all waits
 * except those for the next `form`, until that is taken.
 */
import type { CoordinatorMessage, CoordinatorMessageOf } from '../comm/coordinatorMessages.ts';

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
  readonly #interruptions = new Set<(cause: unknown) => void>();
  #ended: { readonly cause: unknown } | undefined;
  #interrupted: { readonly cause: unknown } | undefined;

  /** Stores a message until it is taken. */
  deliver(delivery: Delivery): void {
    this.#queue.push(delivery);
    for (const arrival of this.#arrivals) arrival();
  }

  /** Rejects current and later waits with `cause`; only the first call counts. */
  end(cause: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = { cause };
    for (const reject of this.#endings) reject(cause);
  }

  /** Rejects this term's current waits, and later ones until {@link takeForm}. */
  interrupt(cause: unknown): void {
    this.#interrupted ??= { cause };
    for (const reject of this.#interruptions) reject(cause);
  }

  /** The newest `form`; messages of earlier terms are dropped. */
  async takeForm(): Promise<Delivery<'form'>> {
    let newest = await this.#take(['form'], [this.#endings], () => this.#ended);
    for (let i = this.#queue.length - 1; i >= 0; i--) {
      const { message } = this.#queue[i]!;
      if (message.type === 'form' && message.term > newest.message.term) newest = this.#queue[i] as Delivery<'form'>;
    }
    const { term } = newest.message;
    const kept = this.#queue.filter(
      ({ message }) => 'term' in message && message.term >= term && message !== newest.message,
    );
    this.#queue.splice(0, this.#queue.length, ...kept);
    this.#interrupted = undefined;
    return newest;
  }

  /** The oldest message of one of these types; waits for one if needed. */
  take<T extends MessageType>(...types: readonly T[]): Promise<Delivery<T>> {
    return this.#take(types, [this.#endings, this.#interruptions], () => this.#ended ?? this.#interrupted);
  }

  /** Settles like `work`, but rejects as soon as the inbox ends or is interrupted. */
  orEnd<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#endings.add(reject);
      this.#interruptions.add(reject);
      work.then(resolve, reject).finally(() => {
        this.#endings.delete(reject);
        this.#interruptions.delete(reject);
      });
      const over = this.#ended ?? this.#interrupted;
      if (over !== undefined) reject(over.cause);
    });
  }

  /** Takes an available message even if waits are rejected: a commit that came before a new term counts. */
  #take<T extends MessageType>(
    types: readonly T[],
    rejections: readonly Set<(cause: unknown) => void>[],
    over: () => { readonly cause: unknown } | undefined,
  ): Promise<Delivery<T>> {
    return new Promise<Delivery<T>>((resolve, reject) => {
      const done = () => {
        this.#arrivals.delete(arrival);
        for (const set of rejections) set.delete(refuse);
      };
      const arrival = () => {
        const index = this.#queue.findIndex(({ message }) => (types as readonly MessageType[]).includes(message.type));
        if (index < 0) return;
        done();
        // The comparison above establishes the type, but TypeScript cannot carry that over to T.
        resolve(this.#queue.splice(index, 1)[0] as unknown as Delivery<T>);
      };
      const refuse = (cause: unknown) => {
        done();
        reject(cause);
      };
      this.#arrivals.add(arrival);
      for (const set of rejections) set.add(refuse);
      arrival();
      const ended = over();
      if (ended !== undefined && this.#arrivals.has(arrival)) refuse(ended.cause);
    });
  }
}
