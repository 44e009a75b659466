/**
 * What the workers of a host send, until it leaves for the coordinator in one envelope (comm/hostEnvelope.ts). Reports of one kind and step are one message
 * (comm/hostReports.ts). A worker's messages stay in their order.
 */
import { unpack } from 'msgpackr';
import type { Clock } from '../base/clock.ts';
import { type EnvelopeMessage, encodeEnvelope } from '../comm/hostEnvelope.ts';
import { encodeReports, isReport, type ReportMessage, reportGroup } from '../comm/hostReports.ts';
import type { ControlClient } from '../comm/link.ts';
import { decodeWorkerMessage } from '../comm/protocol.ts';

/**
 * How long a report may wait for those of other workers, in milliseconds. Nothing is decided until the last worker has sent the first two kinds, so
 * they wait for each other. The others decide nothing, and a worker whose connection is closed takes them with it. All other messages are sent at once, and
 * those that wait with them.
 */
const waitMs: Readonly<Record<ReportMessage['type'], number>> = { reduced: 5, applied: 5, phase: 50, heartbeat: 50 };

/** Larger payloads travel alone. */
const sharedPayloadMost = 64 << 10;

interface Waiting {
  readonly peers: string[];
  /** As the worker sent it, unless it is the report of several. */
  readonly message: Uint8Array | undefined;
  readonly payload: Uint8Array | undefined;
  readonly reports: ReportMessage[];
}

export class HostOutbox {
  readonly #control: ControlClient;
  readonly #clock: Clock;
  #waiting: Waiting[] = [];
  /** Where the newest reports of each group wait, and the newest message of each worker. */
  readonly #groups = new Map<string, number>();
  readonly #newest = new Map<string, number>();
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
    const { type, report } = read(message);
    if (type === 'ready') {
      this.#active.add(peer);
      this.#said.clear();
    }
    const isLarge = (payload?.byteLength ?? 0) > sharedPayloadMost;
    if (isLarge) this.flush();
    if (report === undefined || payload !== undefined) {
      this.#push(peer, { peers: [peer], message, payload, reports: [] });
      this.flush();
      return;
    }
    this.#pushReport(peer, message, report);
    if (this.#isComplete(report.type, peer)) this.flush();
    else this.#flushWithin(waitMs[report.type]);
  }

  close(peer: string): void {
    this.#active.delete(peer);
    this.#said.clear();
    this.#push(peer, { peers: [peer], message: undefined, payload: undefined, reports: [] });
    this.flush();
  }

  flush(): void {
    this.#cancelFlush();
    this.#flushAtMs = Number.POSITIVE_INFINITY;
    const messages = this.#waiting.map(toEnvelope);
    this.#forget();
    if (messages.length === 0) return;
    const { frame, payload } = encodeEnvelope(messages);
    this.#control.send(frame, payload);
  }

  /** Forgets what waits: the coordinator is gone. */
  drop(): void {
    this.#cancelFlush();
    this.#forget();
  }

  #forget(): void {
    this.#waiting = [];
    this.#groups.clear();
    this.#newest.clear();
  }

  #push(peer: string, waiting: Waiting): void {
    this.#newest.set(peer, this.#waiting.push(waiting) - 1);
  }

  /** Beside the reports of others, if nothing of this worker waits there or behind them. */
  #pushReport(peer: string, message: Uint8Array, report: ReportMessage): void {
    const group = reportGroup(report);
    const place = this.#groups.get(group) ?? -1;
    const others = this.#waiting[place];
    if (others !== undefined && (this.#newest.get(peer) ?? -1) < place) {
      others.peers.push(peer);
      others.reports.push(report);
      this.#newest.set(peer, place);
      return;
    }
    this.#groups.set(group, this.#waiting.length);
    this.#push(peer, { peers: [peer], message, payload: undefined, reports: [report] });
  }

  /** Whether every worker of the ring has sent this kind of message. */
  #isComplete(type: ReportMessage['type'], peer: string): boolean {
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

function toEnvelope({ peers, message, payload, reports }: Waiting): EnvelopeMessage {
  return { peers, message: peers.length > 1 ? encodeReports(reports) : message, payload };
}

/** What decides how long a message may wait, and with what. The coordinator refuses what is malformed. */
function read(message: Uint8Array): { readonly type: string; readonly report?: ReportMessage } {
  try {
    const type = String((unpack(message) as { type?: unknown } | null)?.type);
    if (!Object.hasOwn(waitMs, type)) return { type };
    const report = decodeWorkerMessage(message);
    return isReport(report) ? { type, report } : { type };
  } catch {
    return { type: '' };
  }
}
