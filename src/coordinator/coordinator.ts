/**
 * Connects the decision core with the outside: turns messages, process exits and time into events, and begins and ends the run. What the core decides is
 * carried out by effectRunner.ts, on the control link, the data, the checkpoint store and the metrics. It makes no decisions and no computations, so it
 * runs on a machine without an engine.
 */
import { type Clock, systemClock } from '../base/clock.ts';
import { fullMessageOf, InvariantError, messageOf } from '../base/errors.ts';
import { ReportReader } from '../comm/hostReports.ts';
import { HostServer } from '../comm/hostServer.ts';
import { decodeWorkerMessage } from '../comm/protocol.ts';
import { decodeSpans } from '../comm/spans.ts';
import type { WorkerMessage, WorkerMessageOf } from '../comm/workerMessages.ts';
import { Assignments } from './assignments.ts';
import { type CoordinatorOptions, planOf, tokensBefore, trainingOptions } from './coordinatorOptions.ts';
import type { LossEvent, Report } from './core/runEvents.ts';
import { initialState, type RunState } from './core/runState.ts';
import { Decisions } from './decisions.ts';
import { EffectRunner } from './effectRunner.ts';
import { tokenRefusal } from './joinToken.ts';
import { Outbox } from './outbox.ts';
import { ReferenceSender } from './referenceSender.ts';
import { RolloutDriver } from './rollouts/rolloutDriver.ts';
import { RunWriter } from './runWriter.ts';
import { StateExchange } from './stateExchange.ts';
import { Timers } from './timers.ts';
import { ValidationPlan } from './validationPlan.ts';
import { WorkerLosses } from './workerLosses.ts';

const tickIntervalMs = 100;
/** A longer gap between two ticks means that this process was stopped, or that its machine slept. */
const pauseMs = 1_000;

export class Coordinator {
  /** Number of applied steps when the run has ended well; otherwise rejects with a PeerError or UserError. */
  readonly finished: Promise<number>;
  readonly #options: CoordinatorOptions;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #outbox: Outbox;
  readonly #reader = new ReportReader();
  readonly #writer: RunWriter;
  readonly #decisions: Decisions;
  readonly #losses: WorkerLosses;
  readonly #rollouts: RolloutDriver | undefined;
  readonly #states: StateExchange;
  readonly #reference: ReferenceSender;
  readonly #stopTicking: () => void;
  #tickedMs: number | undefined;
  #isClosed = false;
  #isAbandoned = false;
  #settle: { resolve: (step: number) => void; reject: (error: Error) => void };

  constructor(options: CoordinatorOptions) {
    const server = new HostServer(options.server);
    const clock = options.clock ?? systemClock;
    const nowMs = clock.monotonic();
    const { data, config, recorder, tracer } = options;
    const onError = (error: unknown) => this.#fail(error);
    const onWarning = (message: string) => options.listener.warning(message);
    this.#options = options;
    this.#clock = clock;
    this.#timers = new Timers(clock);
    this.#outbox = new Outbox(server, recorder);
    const training =
      options.rollouts?.samples ?? data.training(trainingOptions(config, (step) => this.#writer.samplesAfter(step)));
    this.#writer = new RunWriter(options, nowMs, training);
    const validation = new ValidationPlan(data, config, options.evalPartTokens);
    this.#decisions = new Decisions(initialState(planOf(options, validation), nowMs, options.resumed), {
      clock,
      recorder,
      decide: options.decide,
      carryOut: (effects) => effectRunner.carryOut(effects),
      onError,
    });
    this.#rollouts = this.#newRollouts();
    this.#settle = { resolve: () => {}, reject: () => {} };
    this.finished = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // The run may fail before anyone awaits it; a later await of `finished` still sees the error.
    this.finished.catch(() => {});
    const parts = {
      clock,
      timers: this.#timers,
      decisions: this.#decisions,
      outbox: this.#outbox,
      writer: this.#writer,
      rollouts: this.#rollouts,
    };
    this.#states = new StateExchange(options, { ...parts, onError });
    const { reference, localWorkers } = options;
    this.#reference = new ReferenceSender({ ...parts, reference, onWarning, onError });
    this.#losses = new WorkerLosses({ ...parts, localWorkers, onEvent: (event) => this.#decisions.handle(event) });
    const assignments = new Assignments({
      training,
      server,
      recorder,
      isTraced: (step) => tracer?.isTraced(step) ?? false,
      send: (to, message, payload) => this.#outbox.send(to, message, payload),
    });
    const effectRunner = new EffectRunner(options, {
      ...parts,
      assignments,
      validation,
      states: this.#states,
      onEnd: (end) => (typeof end === 'number' ? this.#settle.resolve(end) : this.#reject(end)),
    });
    this.#recordBeginning();
    training.expect?.(this.state.step);
    server.onMessage((peer, frame, payload) => this.#receive(peer, frame, payload));
    server.onReports((peers, frame) => this.#receiveReports(peers, frame));
    server.onPeerGone((peer, reason) => this.#losses.peerGone(peer, reason));
    this.#stopTicking = clock.every(tickIntervalMs, () => this.#tick());
  }

  #newRollouts(): RolloutDriver | undefined {
    const { rollouts, journal, listener } = this.#options;
    if (rollouts === undefined) return undefined;
    for (const known of this.state.iterations) rollouts.known(known);
    for (const { samples, tokens } of tokensBefore(this.#options)) rollouts.resumeAt(samples, tokens);
    return new RolloutDriver({
      rollouts,
      journal,
      state: () => this.state,
      tokensAfter: (step) => this.#writer.tokensAfter(step),
      send: (to, message, payload) => this.#outbox.send(to, message, payload),
      announce: (reason) => {
        const event = { event: 'rollouts', reason, ...this.#decisions.at } as const;
        this.#writer.event(event);
        listener.event(event);
      },
      onEvent: (event) => this.#decisions.handle(event),
      onError: (error) => this.#fail(error),
    });
  }

  #recordBeginning(): void {
    const { resume, resumed, begunWith, events } = this.#options;
    const { at } = this.#decisions;
    if (begunWith !== undefined) {
      events.append({ event: 'initialised', reason: `begins with ${begunWith}`, ...at });
    } else if (resume !== undefined || resumed !== undefined) {
      events.append({ event: 'resumed', reason: `resumes after step ${at.step}`, ...at });
    }
  }

  /** After a pause of this process, messages are waiting too: they are processed before any worker counts as silent. */
  #tick(): void {
    const nowMs = this.#clock.monotonic();
    const hasPaused = this.#tickedMs !== undefined && nowMs - this.#tickedMs > pauseMs;
    // On a very slow machine every tick is late; that is not a pause.
    this.#tickedMs = hasPaused ? undefined : nowMs;
    if (!hasPaused) this.#decisions.handle({ kind: 'tick' });
  }

  /** A worker of this machine has ended; the argument says how. */
  workerExited(exit: Omit<Extract<LossEvent, { kind: 'workerExited' }>, 'kind'>): void {
    this.#losses.add({ kind: 'workerExited', ...exit });
  }

  /** The current state of the run. */
  get state(): RunState {
    return this.#decisions.state;
  }

  /** Number of tokens of one step. */
  stepTokens(step: number): number {
    return this.#writer.stepTokens(step);
  }

  /**
   * Ends the run in order: the step in progress, a checkpoint, then `finished`.
   * @param cause a signal or another reason
   * @param isToContinue whether it will be started again, as when a scheduler takes a machine back
   */
  requestStop(cause?: string, isToContinue = false): void {
    if (!this.#isOver && !this.state.stopRequested) {
      const reason = cause === undefined ? 'the run is to stop' : `the run is to stop: ${cause}`;
      this.#writer.event({ event: 'stopping', reason, ...this.#decisions.at });
    }
    this.#decisions.handle({ kind: 'stopRequested', isToContinue });
  }

  /** Records an event that does not end the run. */
  note(message: string): void {
    if (this.#isOver) return;
    this.#writer.event({ event: 'warning', reason: message, ...this.#decisions.at });
  }

  /** Whether the last event is written, or about to be. */
  get #isOver(): boolean {
    return this.#isClosed || this.#decisions.hasEnded;
  }

  /**
   * Ends the run at once and writes nothing more, because its directory now belongs to another process. Members are told to stop, and
   * joins are refused. `finished` rejects with `error`. Close it when the workers have ended.
   */
  abandon(error: Error): void {
    if (this.#isClosed || this.#isAbandoned) return;
    this.#isAbandoned = true;
    this.#writer.abandon();
    if (!this.#isOver) {
      // Members of a failed run would write their records to the directory.
      const stop = { type: 'stop', reason: error.message, failed: false } as const;
      for (const id of this.#decisions.fail()) this.#outbox.send(id, stop);
    }
    this.#settle.reject(error);
    this.#states.abandon();
  }

  /** Releases everything; a checkpoint being written is abandoned. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#decisions.close();
    this.#stopTicking();
    this.#timers.close();
    await this.#states.close();
    await this.#writer.close();
  }

  #receive(peer: string, frame: Uint8Array, payload: Uint8Array | undefined): void {
    let message: WorkerMessage;
    try {
      message = decodeWorkerMessage(frame);
    } catch (error) {
      this.#decisions.handle({ kind: 'malformed', from: peer, problem: messageOf(error) });
      return;
    }
    const refusal = message.type === 'join' ? tokenRefusal(message, this.#options.token) : undefined;
    if (refusal !== undefined) {
      this.#outbox.send(peer, { type: 'refused', reason: refusal });
      this.#writer.warnOfStranger(`refused ${peer}, which asked to join: ${refusal}`);
      return;
    }
    if (message.type === 'stateChunk') this.#states.received(peer, message, payload);
    else if (message.type === 'stateAck') this.#states.acknowledged(peer, message);
    else if (message.type === 'trace') this.#traced(peer, message, payload);
    else if (message.type === 'referenceWanted') void this.#reference.send(peer, message.offset);
    const problem = message.type === 'rolledOut' ? this.#rollouts?.receive(message, payload) : undefined;
    if (problem !== undefined && message.type === 'rolledOut') {
      const { term, step, iteration, part } = message;
      const lease = { term, step, iteration, part };
      const said = `its part ${part} of the rollouts: ${problem}`;
      this.#decisions.handle({ kind: 'unfit', from: peer, problem: said, lease });
    } else this.#decisions.handle({ kind: 'message', from: peer, message });
  }

  /** What workers of one host report together. */
  #receiveReports(peers: readonly string[], frame: Uint8Array): void {
    let reports: Report[];
    try {
      reports = this.#reader.read(frame, peers.length).map((message, i) => ({ from: peers[i]!, message }));
    } catch (error) {
      this.#decisions.handle({ kind: 'malformed', from: peers[0]!, problem: messageOf(error) });
      return;
    }
    this.#decisions.handle({ kind: 'reports', reports });
  }

  /** Accepts traces only from members, because only they were asked. */
  #traced(peer: string, message: WorkerMessageOf<'trace'>, payload: Uint8Array | undefined): void {
    const member = this.state.members.find(({ id }) => id === peer);
    if (member === undefined || this.#options.tracer?.isTraced(message.step) !== true) return;
    try {
      this.#options.tracer.add({ ...message, member, spans: decodeSpans(payload), receivedAtMs: this.#clock.now() });
    } catch (error) {
      this.#writer.warnOfStranger(`ignored a trace of ${peer}: ${messageOf(error)}`);
    }
  }

  #fail(error: unknown): void {
    if (!this.#decisions.hasEnded) {
      const workers = this.#decisions.fail();
      this.#writer.event({ event: 'failed', reason: fullMessageOf(error), ...this.#decisions.at });
      const stop = { type: 'stop', reason: 'the coordinator failed', failed: true } as const;
      for (const id of workers) this.#outbox.send(id, stop);
    }
    this.#reject(error instanceof Error ? error : new InvariantError(String(error)));
  }

  #reject(error: Error): void {
    // Its file is in the directory.
    if (this.#isAbandoned) return;
    const { recorder, listener } = this.#options;
    recorder?.record('failed', { error: fullMessageOf(error) });
    const problem = recorder?.write();
    if (problem !== undefined) listener.warning(problem);
    this.#settle.reject(error);
  }
}
