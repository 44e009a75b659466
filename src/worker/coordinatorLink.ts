/**
 * A worker's connection to its coordinator: it joins, sends heartbeats, and joins again when the connection is lost or the
 * coordinator says that the worker no longer belongs to the run. The worker's computation continues undisturbed.
 */
import type { Clock } from '../base/clock.ts';
import { InvariantError, messageOf, PeerError, UserError } from '../base/errors.ts';
import { durationOf } from '../base/numberText.ts';
import { version } from '../base/version.ts';
import type { CoordinatorMessage, CoordinatorMessageOf } from '../comm/coordinatorMessages.ts';
import type { ControlClient, Transport } from '../comm/link.ts';
import type { StateClaim } from '../comm/messageFields.ts';
import { decodeCoordinatorMessage, encodeMessage, protocolVersion } from '../comm/protocol.ts';
import type { WorkerMessage, WorkerMessageOf } from '../comm/workerMessages.ts';
import type { Config } from '../config/configTypes.ts';
import { configSchema } from '../config/schema.ts';

/** A node of a job: its rank, and a name that its start shares with no other. */
export type JobNodeStart = NonNullable<WorkerMessageOf<'join'>['node']>;

/** Time limit for the answer to a join. */
const joinAnswerMs = 30_000;
/** Time limit for one attempt to reconnect to the coordinator. */
const attemptMs = 2_000;
/** Pause between two attempts to reconnect. */
const retryMs = 200;

export interface CoordinatorLinkOptions {
  readonly transport: Transport;
  readonly address: string;
  /** The worker's name. */
  readonly worker: string;
  readonly host: string;
  readonly pid: number;
  readonly clock: Clock;
  /** The current address of the ring end. */
  readonly ringAddress: () => string;
  /** The run's token, if it has one. */
  readonly token?: string | undefined;
  /** The node of a job that it belongs to, if any. */
  readonly node?: JobNodeStart | undefined;
  /** The replica's current state. */
  readonly claim: () => StateClaim | undefined;
  /** The contents of a heartbeat. */
  readonly pulse: () => Omit<WorkerMessageOf<'heartbeat'>, 'type'>;
  /** For the flight recorder. */
  readonly record: (what: string, details: object) => void;
  /** Receives every message except the answers to a join. */
  readonly onMessage: (message: CoordinatorMessage, payload: Uint8Array | undefined) => void;
  /** The coordinator accepted this worker, for the first time or again. */
  readonly onWelcome: () => void;
  /** The coordinator is lost permanently, or refuses this worker. */
  readonly onLost: (error: Error) => void;
}

type Welcome = Pick<CoordinatorMessageOf<'welcome'>, 'vocabSize' | 'objective' | 'trace' | 'reference'> & {
  config: Config;
};

export class CoordinatorLink {
  readonly #options: CoordinatorLinkOptions;
  #control: ControlClient | undefined;
  #connections = 0;
  #config: Config | undefined;
  #runId: string | undefined;
  #stopHeartbeat: () => void = () => {};
  /** Ends the wait for the answer to a join. */
  #answered: () => void = () => {};
  #lastHeardMs: number;
  #closed = false;
  #onJoined: (welcome: Welcome) => void = () => {};

  private constructor(options: CoordinatorLinkOptions) {
    this.#options = options;
    this.#lastHeardMs = options.clock.monotonic();
  }

  /** Connects once; resolves when it is known whether anything answers. */
  static async open(options: CoordinatorLinkOptions): Promise<CoordinatorLink> {
    const link = new CoordinatorLink(options);
    link.#use(await link.#connect());
    return link;
  }

  /** Asks to join. */
  join(): Promise<Welcome> {
    return new Promise((resolve) => {
      this.#onJoined = resolve;
      this.#sendJoin();
    });
  }

  /** Sends if connected. The next `form` makes up for messages lost without a connection. */
  send(message: WorkerMessage, payload?: Uint8Array): void {
    this.#control?.send(encodeMessage(message), payload);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopHeartbeat();
    this.#answered();
    await this.#control?.close();
  }

  /** Each connection has its own name, so that the coordinator cannot mistake a late message from an old one for a new one. */
  #connect(timeoutMs?: number): Promise<ControlClient> {
    const { transport, address, worker, pid } = this.#options;
    return transport.connect(address, `${worker}.${pid}.${++this.#connections}`, timeoutMs);
  }

  #use(control: ControlClient): void {
    this.#control = control;
    this.#lastHeardMs = this.#options.clock.monotonic();
    control.onMessage((frame, payload) => {
      if (control === this.#control) this.#receive(frame, payload);
    });
    control.onServerGone((reason) => {
      if (control === this.#control) void this.#comeBack(`its connection is lost: ${reason}`);
    });
  }

  #sendJoin(): void {
    const { host, pid, worker, ringAddress, token, node, claim, clock } = this.#options;
    const state = claim();
    const who = { host, pid, worker, ringAddress: ringAddress() };
    this.#options.record('joining', { ...who, state });
    this.send({
      type: 'join',
      protocolVersion,
      version,
      ...who,
      ...(state !== undefined && { state }),
      ...(token !== undefined && { token }),
      ...(node !== undefined && { node }),
      ...(this.#runId !== undefined && { runId: this.#runId }),
    });
    this.#answered();
    this.#answered = clock.after(joinAnswerMs, () => {
      const error = new PeerError(`no answer within ${durationOf(joinAnswerMs)}: is it a coordinator's address?`);
      this.#options.onLost(error);
    });
  }

  #receive(frame: Uint8Array, payload: Uint8Array | undefined): void {
    this.#lastHeardMs = this.#options.clock.monotonic();
    let message: CoordinatorMessage;
    try {
      message = decodeCoordinatorMessage(frame);
    } catch (error) {
      this.#options.onLost(error instanceof Error ? error : new PeerError(messageOf(error)));
      return;
    }
    if (message.type === 'welcome') this.#welcomed(message);
    else if (message.type === 'refused') {
      this.#options.onLost(new UserError(`the coordinator refused this worker: ${message.reason}`));
    } else if (message.type === 'fenced') void this.#comeBack(message.reason);
    else if (message.type !== 'heartbeat') this.#options.onMessage(message, payload);
  }

  #welcomed({ runId, config: sent, vocabSize, objective, trace, reference }: CoordinatorMessageOf<'welcome'>): void {
    this.#answered();
    const config = configSchema.safeParse(sent);
    if (!config.success) {
      const problem = messageOf(config.error);
      this.#options.onLost(new PeerError(`this version cannot read the coordinator's config: ${problem}`));
      return;
    }
    const isFirst = this.#config === undefined;
    this.#config = config.data;
    this.#runId = runId;
    if (isFirst) this.#startHeartbeat(config.data);
    this.#onJoined({ config: config.data, vocabSize, objective, trace, ...(reference && { reference }) });
    this.#options.onWelcome();
  }

  #startHeartbeat({ comm: { heartbeatIntervalMs, heartbeatTimeoutMs } }: Config): void {
    this.#stopHeartbeat = this.#options.clock.every(heartbeatIntervalMs, () => {
      this.send({ type: 'heartbeat', ...this.#options.pulse() });
      const silentMs = this.#options.clock.monotonic() - this.#lastHeardMs;
      if (this.#control !== undefined && silentMs > heartbeatTimeoutMs) {
        void this.#comeBack(`the coordinator has been silent for ${durationOf(silentMs)}`);
      }
    });
  }

  /**
   * Reconnects to the coordinator, or to a successor at its address, within `comm.rejoinTimeoutMs`. Only a refusal ends it sooner: that
   * nothing answers, that something else does, or that a name is unknown may be over with the next attempt.
   */
  async #comeBack(reason: string): Promise<void> {
    const old = this.#control;
    if (this.#closed || old === undefined) return;
    this.#options.record('reconnecting', { reason });
    this.#control = undefined;
    await old.close();
    const deadlineMs = this.#options.clock.monotonic() + (this.#config?.comm.rejoinTimeoutMs ?? 0);
    let last = '';
    while (!this.#closed && this.#options.clock.monotonic() < deadlineMs) {
      try {
        const control = await this.#connect(Math.min(attemptMs, deadlineMs - this.#options.clock.monotonic()));
        if (this.#closed) await control.close();
        else {
          this.#use(control);
          this.#sendJoin();
        }
        return;
      } catch (error) {
        if (error instanceof UserError || error instanceof InvariantError) {
          this.#options.onLost(error);
          return;
        }
        if (messageOf(error) !== last) this.#options.record('not reconnected', { reason: messageOf(error) });
        last = messageOf(error);
        await new Promise<void>((resolve) => void this.#options.clock.after(retryMs, resolve));
      }
    }
    const attempts = last === '' ? '' : `. The last attempt to reconnect: ${last}`;
    this.#options.onLost(new PeerError(`lost the coordinator: ${reason}${attempts}`));
  }
}
