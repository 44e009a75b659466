/** What the workers of a host send, until it leaves for the coordinator in one envelope (comm/hostEnvelope.ts). A worker's messages stay in their order. */
import { unpack } from 'msgpackr';
import type { Clock } from '../base/clock.ts';
import { type EnvelopeMessage, encodeEnvelope } from '../comm/hostEnvelope.ts';
import type { ControlClient } from '../comm/link.ts';

/**
 * How long a message may wait for those of other workers, in milliseconds. Nothing is decided until the last worker has sent the first two kinds, so
 * they wait for each other. All other messages are sent at once, and those that wait with them.
 */
const waitMs: Readonly<Record<string, number>> = { reduced: 5, applied: 5, phase: 5, heartbeat: 50 };

/** Larger payloads travel alone. */
const sharedPayloadMost = 64 << 10;

export class HostOutbox {
  readonly #control: ControlClient;
  readonly #clock: Clock;
  #waiting: EnvelopeMessage[] = [];
  /** The workers that are in the ring, as far as can be seen here. */
  readonly #active = new Set<string>();
  /** Those that have sent this kind of message since all of them had, by its type. */
  readonly #said = new Map<string, Set<string>>();
  #flushAtMs = Number.POSITIVE_INFINITY;
  #cancelFlush: () => void = () => {};

  constructor(control: ControlClient, clock: Clock) {
    this.#control = control;
    this.#clock = clock;
  }

  add(peer: string, message: Uint8Array, payload: Uint8Array | undefined): void {
    const type = typeOf(message);
    if (type === 'ready') {
      this.#active.add(peer);
      this.#said.clear();
    }
    const isLarge = (payload?.byteLength ?? 0) > sharedPayloadMost;
    if (isLarge) this.flush();
    this.#waiting.push({ peers: [peer], message, payload });
    const ms = waitMs[type];
    if (ms === undefined || payload !== undefined || this.#isComplete(type, peer)) this.flush();
    else this.#flushWithin(ms);
  }

  close(peer: string): void {
    this.#active.delete(peer);
    this.#said.clear();
    this.#waiting.push({ peers: [peer], message: undefined, payload: undefined });
    this.flush();
  }

  flush(): void {
    this.#cancelFlush();
    this.#flushAtMs = Number.POSITIVE_INFINITY;
    const messages = this.#waiting;
    if (messages.length === 0) return;
    this.#waiting = [];
    const { frame, payload } = encodeEnvelope(messages);
    this.#control.send(frame, payload);
  }

  /** Forgets what waits: the coordinator is gone. */
  drop(): void {
    this.#cancelFlush();
    this.#waiting = [];
  }

  /** Whether every worker of the ring has sent this kind of message. */
  #isComplete(type: string, peer: string): boolean {
    if (type !== 'reduced' && type !== 'applied') return false;
    const said = this.#said.get(type) ?? new Set();
    this.#said.set(type, said.add(peer));
    if (said.size < this.#active.size) return false;
    this.#said.delete(type);
    return true;
  }

  #flushWithin(ms: number): void {
    const atMs = this.#clock.monotonic() + ms;
    if (atMs >= this.#flushAtMs) return;
    this.#cancelFlush();
    this.#flushAtMs = atMs;
    this.#cancelFlush = this.#clock.after(ms, () => this.flush());
  }
}

/** The word in the front of a message decides how long it may wait; the coordinator validates all of it. */
function typeOf(message: Uint8Array): string {
  try {
    return String((unpack(message) as { type?: unknown } | null)?.type);
  } catch {
    return '';
  }
}
