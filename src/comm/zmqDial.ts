/**
 * Connects a ring end to the next rank. If that has several addresses, they are tried in quick succession, as browsers do with the
 * addresses of a name (https://www.rfc-editor.org/rfc/rfc8305). The first at which the next rank completes the handshake is used,
 * because an accepted connection alone does not prove that it is the next rank.
 *
 * Each address has a socket of its own: it then has one connection in its life, so that its monitor's "disconnect" can only mean
 * the next rank, and frames queued for a rank that was replaced disappear with it.
 */
import type * as zmq from 'zeromq';
import { messageOf } from '../base/errors.ts';
import { monitorLoop } from './zmqSocket.ts';

/** Time after which the next address is tried too. */
const turnMs = 250;
/** The same once the connection is accepted. The next rank completes the handshake when it has learned of the ring, which can take longer. */
const handshakeTurnMs = 1_000;

/** The time is up at this tick. Ticks, not a clock: a process that was suspended sees one tick, then the events that came meanwhile. */
const ticksMax = 4;

export interface DialOptions {
  /** Each `tcp://HOST:PORT`, the likeliest first. */
  readonly addresses: Promise<readonly string[]>;
  readonly open: (address: string) => zmq.Push;
  /** How long to wait for some address to accept a connection. */
  readonly timeoutMs: number;
  /** The next rank has answered. Called once. */
  readonly connected: (push: zmq.Push) => void;
  /** The connection that was taken is lost, or there will be none. May be called more than once. */
  readonly gone: (reason: string) => void;
}

interface Attempt {
  readonly address: string;
  readonly push: zmq.Push;
  /** The connection is accepted. */
  accepted: boolean;
  /** Why the attempt ended. */
  failure: string | undefined;
  wasRefused: boolean;
}

export class Dial {
  readonly #options: DialOptions;
  readonly #attempts: Attempt[] = [];
  #waiting: string[] = [];
  #turn: NodeJS.Timeout | undefined;
  readonly #clock: NodeJS.Timeout;
  #ticks = 0;
  #isOver = false;
  #taken: Attempt | undefined;
  #closed = false;

  constructor(options: DialOptions) {
    this.#options = options;
    this.#clock = setInterval(() => {
      if (++this.#ticks >= ticksMax) this.#giveUp();
    }, options.timeoutMs / ticksMax);
    options.addresses.then(
      (addresses) => {
        this.#waiting = [...addresses];
        if (addresses.length === 0) this.#fail('none of its addresses is known here');
        else this.#tryNext();
      },
      (error: unknown) => this.#fail(messageOf(error)),
    );
  }

  /** Each address with the reason why the next rank does not answer there; undefined if it has answered at one, or still may. */
  get unreached(): string | undefined {
    const isEarly = !this.#isOver && this.#ticks < ticksMax / 2;
    if (this.#taken || isEarly || this.#attempts.length === 0) return undefined;
    if (this.#attempts.some(({ accepted, failure }) => accepted && failure === undefined)) return undefined;
    return this.#attempts
      .map(({ address, failure, wasRefused }) => {
        return `${address} (${failure ?? (wasRefused ? 'connection refused, or no route' : 'no answer')})`;
      })
      .join(', ');
  }

  close(): void {
    this.#closed = true;
    this.#stopTimers();
    for (const { push } of this.#attempts) push.close();
  }

  #tryNext(): void {
    clearTimeout(this.#turn);
    const address = this.#waiting.shift();
    if (this.#closed || this.#taken || address === undefined) return;
    const push = this.#options.open(address);
    const attempt: Attempt = { address, push, accepted: false, failure: undefined, wasRefused: false };
    this.#attempts.push(attempt);
    void monitorLoop(push, (event) => this.#onEvent(attempt, event));
    push.connect(address);
    this.#nextTurn(turnMs);
  }

  #nextTurn(afterMs: number): void {
    clearTimeout(this.#turn);
    if (this.#waiting.length > 0) this.#turn = setTimeout(() => this.#tryNext(), afterMs);
  }

  #onEvent(attempt: Attempt, event: zmq.Event): void {
    if (this.#closed) return;
    const isTaken = this.#taken === attempt;
    switch (event.type) {
      case 'connect':
        attempt.accepted = true;
        if (!this.#taken) this.#nextTurn(handshakeTurnMs);
        break;
      case 'connect:retry':
        // ZeroMQ keeps trying, and reports each attempt.
        if (!attempt.wasRefused && !attempt.accepted) this.#tryNext();
        attempt.wasRefused = true;
        break;
      case 'handshake':
        // The other end logs an interrupted handshake, so later attempts are closed after theirs.
        if (this.#taken) attempt.push.close();
        else this.#take(attempt);
        break;
      case 'handshake:error:auth':
        if (isTaken || !this.#taken) this.#fail('it does not take this rank for its previous one');
        break;
      case 'handshake:error:protocol':
        this.#failed(attempt, `the handshake with it failed: ${event.error.code}`);
        break;
      case 'disconnect':
        if (isTaken) this.#fail('its connection is closed');
        else this.#failed(attempt, 'its connection is closed');
        break;
      default:
    }
  }

  #take(attempt: Attempt): void {
    this.#taken = attempt;
    this.#stopTimers();
    for (const other of this.#attempts) if (other !== attempt && !other.accepted) other.push.close();
    this.#options.connected(attempt.push);
  }

  /** The attempt at one address has failed. */
  #failed(attempt: Attempt, reason: string): void {
    if (attempt.failure !== undefined) return;
    attempt.push.close();
    attempt.failure = reason;
    if (this.#taken) return;
    const isOver = this.#waiting.length === 0 && this.#attempts.every(({ failure }) => failure !== undefined);
    if (isOver) this.#fail(reason);
    else if (this.#ticks >= ticksMax) this.#giveUp();
    else this.#tryNext();
  }

  #giveUp(): void {
    const { unreached } = this;
    if (unreached !== undefined) this.#fail(`it cannot be reached at ${unreached}`);
  }

  #fail(reason: string): void {
    if (this.#closed) return;
    this.#isOver = true;
    this.#stopTimers();
    this.#options.gone(reason);
  }

  #stopTimers(): void {
    clearTimeout(this.#turn);
    clearInterval(this.#clock);
  }
}
