/**
 * Connects the decision core with the outside: turns messages, process exits and time into events, and carries out the effects on
 * the control link, the data, the checkpoint store and the metrics. It makes no decisions and no computations, so it runs on a
 * machine without an engine.
 */
import { open } from 'node:fs/promises';
import { type Clock, systemClock } from '../base/clock.ts';
import { fullMessageOf, InvariantError, messageOf, PeerError, UserError } from '../base/errors.ts';
import type { StateTensor } from '../base/stateParts.ts';
import { readFully } from '../base/wholeFiles.ts';
import type { CheckpointContents } from '../checkpoint/writer.ts';
import { encodeBatch } from '../comm/batchPayload.ts';
import type { CoordinatorMessage } from '../comm/coordinatorMessages.ts';
import { isTelling, withoutSecrets } from '../comm/flightMessages.ts';
import { ReportReader } from '../comm/hostReports.ts';
import { HostServer } from '../comm/hostServer.ts';
import { decodeWorkerMessage, encodeMessage, stateChunkBytes } from '../comm/protocol.ts';
import { decodeSpans } from '../comm/spans.ts';
import type { WorkerMessage, WorkerMessageOf } from '../comm/workerMessages.ts';
import { modelOf } from '../config/groups/model.ts';
import type { TrainingSamples } from '../data/runData.ts';
import { Assignments } from './assignments.ts';
import { Checkpointer, type CheckpointOutcome } from './checkpointer.ts';
import { type CoordinatorOptions, planOf, tokensBefore, trainingOptions } from './coordinatorOptions.ts';
import { decide } from './core/decide.ts';
import type { Effect } from './core/effects.ts';
import { listOf } from './core/roster.ts';
import type { LossEvent, Report, RunEvent } from './core/runEvents.ts';
import { initialState, type RunState } from './core/runState.ts';
import { tokenRefusal } from './joinToken.ts';
import { RolloutDriver } from './rollouts/rolloutDriver.ts';
import { RunWriter } from './runWriter.ts';
import { StateTransfers } from './stateTransfers.ts';
import { ValidationPlan } from './validationPlan.ts';

const tickIntervalMs = 100;
/** A longer gap between two ticks means that this process was stopped, or that its machine slept. */
const pauseMs = 1_000;
/** Losses that become known within this time are decided together: the workers of a dead machine cost one term. */
const lossesMs = 5;
/** The exit of a local process may become known this much later than the loss of its connection. */
const exitGraceMs = 300;

export class Coordinator {
  /** Number of applied steps when the run has ended well; otherwise rejects with a PeerError or UserError. */
  readonly finished: Promise<number>;
  readonly #options: CoordinatorOptions;
  readonly #server: HostServer;
  readonly #reader = new ReportReader();
  readonly #checkpointer: Checkpointer;
  readonly #training: TrainingSamples;
  readonly #validation: ValidationPlan;
  readonly #transfers: StateTransfers;
  readonly #assignments: Assignments;
  readonly #writer: RunWriter;
  /** Functions that cancel the timers. */
  readonly #timers = new Set<() => void>();
  readonly #localWorkers: ReadonlySet<string>;
  /** Not decided yet. */
  #losses: LossEvent[] = [];
  readonly #clock: Clock;
  #tickedMs: number | undefined;
  readonly #rollouts: RolloutDriver | undefined;
  readonly #stopTicking: () => void;
  /** The message sent last, and its bytes. */
  #encoded: { readonly message: CoordinatorMessage; readonly frame: Uint8Array } | undefined;
  #state: RunState;
  #isClosed = false;
  #isAbandoned = false;
  #settle: { resolve: (step: number) => void; reject: (error: Error) => void };

  constructor(options: CoordinatorOptions) {
    const server = new HostServer(options.server);
    this.#options = options;
    this.#server = server;
    this.#clock = options.clock ?? systemClock;
    this.#localWorkers = new Set(options.localWorkers);
    const nowMs = this.#clock.monotonic();
    const { data, config } = options;
    const { rollouts } = options;
    this.#training =
      rollouts?.samples ?? data.training(trainingOptions(config, (step) => this.#writer.samplesAfter(step)));
    this.#assignments = new Assignments({
      training: this.#training,
      server,
      recorder: options.recorder,
      isTraced: (step) => options.tracer?.isTraced(step) ?? false,
      send: (to, message, payload) => this.#send(to, message, payload),
    });
    this.#writer = new RunWriter(options, nowMs, this.#training);
    this.#validation = new ValidationPlan(data, config, options.evalPartTokens);
    this.#state = initialState(planOf(options, this.#validation), nowMs, options.resumed);
    this.#rollouts = this.#newRollouts();
    this.#settle = { resolve: () => {}, reject: () => {} };
    this.finished = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // The run may fail before anyone awaits it; a later await of `finished` still sees the error.
    this.finished.catch(() => {});
    this.#checkpointer = new Checkpointer({
      store: options.store,
      // If a run gives up, its last checkpoint may have to be removed, and the run then continues from the one before.
      keepsOlder: () => this.#state.givingUp !== undefined,
      acknowledge: (to, at) => this.#send(to, { type: 'stateAck', purpose: 'checkpoint', ...at }),
      giveUp: (to, step) => this.#send(to, { type: 'stateGivenUp', step }),
      onOutcome: (outcome) => this.#checkpointEnded(outcome),
    });
    const purpose = 'transfer';
    this.#transfers = new StateTransfers({
      store: options.store,
      resume: options.resume,
      chunkBytes: options.stateChunkBytes,
      forward: (to, at, chunk) => this.#send(to, { type: 'stateChunk', purpose, ...at }, chunk),
      acknowledge: (to, at) => this.#send(to, { type: 'stateAck', purpose, ...at }),
      onError: (error) => this.#fail(error),
    });
    const { resume, resumed, begunWith } = options;
    if (begunWith !== undefined) {
      options.events.append({ event: 'initialised', reason: `begins with ${begunWith}`, ...this.#at });
    } else if (resume !== undefined || resumed !== undefined) {
      const reason = `resumes after step ${this.#state.step}`;
      options.events.append({ event: 'resumed', reason, ...this.#at });
    }
    this.#training.expect?.(this.#state.step);
    server.onMessage((peer, frame, payload) => this.#receive(peer, frame, payload));
    server.onReports((peers, frame) => this.#receiveReports(peers, frame));
    server.onPeerGone((peer, reason) => this.#peerGone(peer, reason));
    this.#stopTicking = this.#clock.every(tickIntervalMs, () => this.#tick());
  }

  #newRollouts(): RolloutDriver | undefined {
    const { rollouts, journal, listener } = this.#options;
    if (rollouts === undefined) return undefined;
    for (const known of this.#state.iterations) rollouts.known(known);
    for (const { samples, tokens } of tokensBefore(this.#options)) rollouts.resumeAt(samples, tokens);
    return new RolloutDriver({
      rollouts,
      journal,
      state: () => this.#state,
      tokensAfter: (step) => this.#writer.tokensAfter(step),
      send: (to, message, payload) => this.#send(to, message, payload),
      announce: (reason) => {
        const event = { event: 'rollouts', reason, ...this.#at } as const;
        this.#writer.event(event);
        listener.event(event);
      },
      onEvent: (event) => this.#handle(event),
      onError: (error) => this.#fail(error),
    });
  }

  /** After a pause of this process, messages are waiting too: they are processed before any worker counts as silent. */
  #tick(): void {
    const nowMs = this.#clock.monotonic();
    const hasPaused = this.#tickedMs !== undefined && nowMs - this.#tickedMs > pauseMs;
    // On a very slow machine every tick is late; that is not a pause.
    this.#tickedMs = hasPaused ? undefined : nowMs;
    if (!hasPaused) this.#handle({ kind: 'tick' });
  }

  /** A worker of this machine has ended; the argument says how. */
  workerExited(exit: Omit<Extract<LossEvent, { kind: 'workerExited' }>, 'kind'>): void {
    this.#lost({ kind: 'workerExited', ...exit });
  }

  /** The exit of a local process is reported separately and says more, so the coordinator waits for it. */
  #peerGone(id: string, reason: string): void {
    // coordinatorLink.ts names connections: WORKER.PID.NUMBER.
    const worker = id.split('.').slice(0, -2).join('.');
    if (this.#isClosed) return;
    if (this.#localWorkers.has(worker)) this.#later(exitGraceMs, () => this.#lost({ kind: 'peerGone', id, reason }));
    else this.#lost({ kind: 'peerGone', id, reason });
  }

  #lost(event: LossEvent): void {
    if (this.#isClosed) return;
    this.#losses.push(event);
    if (this.#losses.length > 1) return;
    this.#later(lossesMs, () => {
      const losses = this.#losses;
      this.#losses = [];
      const [first] = losses;
      if (first !== undefined) this.#handle(losses.length === 1 ? first : { kind: 'losses', losses });
    });
  }

  #later(ms: number, run: () => void): void {
    const cancel = this.#clock.after(ms, () => {
      this.#timers.delete(cancel);
      run();
    });
    this.#timers.add(cancel);
  }

  /** The current state of the run. */
  get state(): RunState {
    return this.#state;
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
    if (!this.#isOver && !this.#state.stopRequested) {
      const reason = cause === undefined ? 'the run is to stop' : `the run is to stop: ${cause}`;
      this.#writer.event({ event: 'stopping', reason, ...this.#at });
    }
    this.#handle({ kind: 'stopRequested', isToContinue });
  }

  /** Records an event that does not end the run. */
  note(message: string): void {
    if (this.#isOver) return;
    this.#writer.event({ event: 'warning', reason: message, ...this.#at });
  }

  /** Whether the last event is written, or about to be. */
  get #isOver(): boolean {
    return this.#isClosed || this.#state.stage === 'finished' || this.#state.stage === 'failed';
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
      const { members, joiners } = this.#state;
      this.#state = { ...this.#state, stage: 'failed' };
      // Members of a failed run would write their records to the directory.
      const stop = { type: 'stop', reason: error.message, failed: false } as const;
      for (const { id } of [...members, ...joiners]) this.#send(id, stop);
    }
    this.#settle.reject(error);
    void this.#checkpointer.abort();
  }

  /** Releases everything; a checkpoint being written is abandoned. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stopTicking();
    for (const cancel of this.#timers) cancel();
    this.#transfers.stop();
    await this.#checkpointer.abort();
    await this.#writer.close();
  }

  #receive(peer: string, frame: Uint8Array, payload: Uint8Array | undefined): void {
    let message: WorkerMessage;
    try {
      message = decodeWorkerMessage(frame);
    } catch (error) {
      this.#handle({ kind: 'malformed', from: peer, problem: messageOf(error) });
      return;
    }
    const refusal = message.type === 'join' ? tokenRefusal(message, this.#options.token) : undefined;
    if (refusal !== undefined) {
      this.#send(peer, { type: 'refused', reason: refusal });
      this.#writer.warnOfStranger(`refused ${peer}, which asked to join: ${refusal}`);
      return;
    }
    if (message.type === 'stateChunk') this.#checkpointer.receive(peer, message, payload);
    else if (message.type === 'stateAck') this.#transfers.acknowledged(peer, message);
    else if (message.type === 'trace') this.#traced(peer, message, payload);
    else if (message.type === 'referenceWanted') void this.#sendReference(peer, message.offset);
    const problem = message.type === 'rolledOut' ? this.#rollouts?.receive(message, payload) : undefined;
    if (problem !== undefined && message.type === 'rolledOut') {
      const { term, step, iteration, part } = message;
      const lease = { term, step, iteration, part };
      this.#handle({ kind: 'unfit', from: peer, problem: `its part ${part} of the rollouts: ${problem}`, lease });
    } else this.#handle({ kind: 'message', from: peer, message });
  }

  /** What workers of one host report together. */
  #receiveReports(peers: readonly string[], frame: Uint8Array): void {
    let reports: Report[];
    try {
      reports = this.#reader.read(frame, peers.length).map((message, i) => ({ from: peers[i]!, message }));
    } catch (error) {
      this.#handle({ kind: 'malformed', from: peers[0]!, problem: messageOf(error) });
      return;
    }
    this.#handle({ kind: 'reports', reports });
  }

  /**
   * Only to workers that were welcomed. A lost connection makes the worker ask again. Without the file no worker can join, but those that have
   * joined need it no more.
   */
  async #sendReference(peer: string, offset: number): Promise<void> {
    const { reference } = this.#options;
    const { joiners } = this.#state;
    if (reference === undefined || offset >= reference.bytes || !joiners.some(({ id }) => id === peer)) return;
    try {
      const handle = await open(reference.path, 'r');
      try {
        const chunk = new Uint8Array(Math.min(stateChunkBytes, reference.bytes - offset));
        await readFully(handle, chunk, offset, reference.path);
        this.#send(peer, { type: 'referenceChunk', offset }, chunk);
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (!(error instanceof Error)) return this.#fail(error);
      const problem = `the weights that the policy is compared with cannot be read: ${messageOf(error)}`;
      this.#options.listener.warning(problem);
      this.#handle({ kind: 'unfit', from: peer, problem });
    }
  }

  /** Accepts traces only from members, because only they were asked. */
  #traced(peer: string, message: WorkerMessageOf<'trace'>, payload: Uint8Array | undefined): void {
    const member = this.#state.members.find(({ id }) => id === peer);
    if (member === undefined || this.#options.tracer?.isTraced(message.step) !== true) return;
    try {
      this.#options.tracer.add({ ...message, member, spans: decodeSpans(payload), receivedAtMs: this.#clock.now() });
    } catch (error) {
      this.#writer.warnOfStranger(`ignored a trace of ${peer}: ${messageOf(error)}`);
    }
  }

  /** A failure in here ends the run: timers and sockets call it, and they would not catch an error. */
  #handle(event: RunEvent): void {
    // Workers that end in the meantime still report.
    if (this.#isClosed) return;
    try {
      const core = this.#options.decide ?? decide;
      const { state, effects, reason } = core(this.#state, event, this.#clock.monotonic());
      this.#state = state;
      this.#record(event, reason);
      for (let i = 0; i < effects.length; ) {
        const effect = effects[i]!;
        if (effect.kind === 'assign') i += this.#assignments.carryOut(effect, effects, i);
        else {
          this.#carryOut(effect);
          i++;
        }
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The first of several reports stands for all. */
  #record(event: RunEvent, reason: string): void {
    const { recorder } = this.#options;
    const message = event.kind === 'message' ? event.message : event.kind === 'reports' && event.reports[0]?.message;
    if (message && isTelling(message)) {
      const from = event.kind === 'reports' ? event.reports.map((report) => report.from) : undefined;
      recorder?.record('received', {
        ...(from ? { kind: event.kind, from } : event),
        message: withoutSecrets(message),
        reason,
      });
    } else if (!message && event.kind !== 'tick') recorder?.record('received', { ...event, reason });
    else if (reason !== '') recorder?.record('decided', { reason });
  }

  #fail(error: unknown): void {
    if (this.#state.stage !== 'finished' && this.#state.stage !== 'failed') {
      const { members, joiners } = this.#state;
      this.#state = { ...this.#state, stage: 'failed' };
      this.#writer.event({ event: 'failed', reason: fullMessageOf(error), ...this.#at });
      const stop = { type: 'stop', reason: 'the coordinator failed', failed: true } as const;
      for (const { id } of [...members, ...joiners]) this.#send(id, stop);
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

  #carryOut(effect: Exclude<Effect, { kind: 'assign' }>): void {
    const { listener, config, data, runId, reference } = this.#options;
    switch (effect.kind) {
      case 'send':
        this.#sendDecided(effect.to, effect.message);
        break;
      case 'welcome':
        this.#send(effect.to, {
          type: 'welcome',
          runId,
          config: { ...config },
          vocabSize: data.vocabSize,
          objective: data.objective,
          trace: this.#options.tracer !== undefined,
          ...(reference && { reference: { sha256: reference.sha256, bytes: reference.bytes } }),
        });
        break;
      case 'evaluate': {
        const { to, term, step, rank, part } = effect;
        const batch = this.#validation.share(rank, this.#state.members.length, part);
        const { fields, payload } = encodeBatch(batch);
        this.#send(to, { type: 'evaluate', term, step, part, sampleCount: batch.sampleCount, fields }, payload);
        break;
      }
      case 'beginRollouts':
      case 'rollout':
      case 'keepRollouts':
      case 'judgeRollouts':
      case 'rolloutsKnown':
        this.#rollouts?.carryOut(effect);
        break;
      case 'transfer':
        this.#transfers.begin(effect);
        break;
      case 'lengthChanged':
        listener.lengthChanged?.(effect.maxSteps);
        break;
      case 'rewind':
        this.#writer.rewind(effect, this.#at);
        this.#rollouts?.recordAgain(effect.step);
        break;
      case 'termOpened':
        this.#writer.termOpened(effect);
        break;
      case 'committed':
        this.#writer.committed(effect, this.#clock.monotonic());
        this.#assignments.committed(effect.step, effect.term);
        break;
      case 'startWorker':
        this.#later(effect.afterMs, () => this.#options.startWorker(effect.worker));
        break;
      case 'killWorker':
        this.#options.killWorker(effect.worker);
        break;
      case 'event':
        this.#writer.event(effect.event);
        if (effect.show) listener.event(effect.event);
        break;
      case 'beginCheckpoint': {
        const { term, step, from, bytes, tensors } = effect;
        this.#checkpointer.begin({ term, step, from, bytes, contents: this.#checkpointContents(step, tensors) });
        break;
      }
      case 'abandonCheckpoint':
        void this.#abandonCheckpoint(effect.step);
        break;
      case 'started':
        this.#writer.stepBegins(this.#clock.monotonic());
        listener.started(effect.members);
        break;
      case 'stepDone':
        this.#writer.stepDone(effect, this.#clock.monotonic(), listOf(this.#state.members));
        break;
      case 'evaluationDone':
        this.#writer.evaluated(effect);
        break;
      case 'warn':
        if (effect.ofStranger === true) this.#writer.warnOfStranger(effect.message);
        else listener.warning(effect.message);
        break;
      case 'finish': {
        const reason = `the run ended after step ${effect.step}`;
        this.#writer.ended({ event: 'finished', reason, ...this.#at }, effect.step);
        this.#settle.resolve(effect.step);
        break;
      }
      case 'fail':
        this.#writer.ended({ event: 'failed', reason: effect.message, ...this.#at }, this.#state.step);
        this.#reject(effect.blame === 'user' ? new UserError(effect.message) : new PeerError(effect.message));
        break;
      default:
        throw new InvariantError(`unknown effect ${JSON.stringify(effect satisfies never)}`);
    }
  }

  get #at(): { term: number; step: number } {
    const { term, step } = this.#state;
    return { term, step };
  }

  #send(to: string, message: CoordinatorMessage, payload?: Uint8Array): void {
    if (isTelling(message)) this.#options.recorder?.record('sent', { to, message });
    // The same message goes to many.
    if (this.#encoded?.message !== message) this.#encoded = { message, frame: encodeMessage(message) };
    this.#server.send(to, this.#encoded.frame, payload);
  }

  /** With `proceed` the members begin the next step. */
  #sendDecided(to: string, message: CoordinatorMessage): void {
    if (message.type === 'proceed') this.#writer.stepBegins(this.#clock.monotonic());
    this.#send(to, message);
  }

  #checkpointContents(step: number, tensors: readonly StateTensor[]): CheckpointContents {
    const { config, data } = this.#options;
    const { samplesSeen, valLoss } = this.#writer.checkpointFacts(step);
    const { maxSteps } = this.#state.plan;
    return {
      tensors,
      modelConfig: modelOf(config.model, data.vocabSize),
      tokenizerFiles: data.tokenizer.files(),
      endOfText: data.tokenizer.endOfText,
      trainer: {
        step,
        seed: config.train.seed,
        data: { sha256: data.sha256, samplesSeen, reference: data.reference, ...this.#rollouts?.checkpointFacts(step) },
        valLoss,
        config: { ...config, train: { ...config.train, maxSteps } },
      },
    };
  }

  /** It may be too late, if its outcome was already reported. */
  async #abandonCheckpoint(step: number): Promise<void> {
    await this.#checkpointer.abort().catch((error: unknown) => this.#options.listener.warning(fullMessageOf(error)));
    this.#handle({ kind: 'checkpointFailed', step });
  }

  #checkpointEnded(outcome: CheckpointOutcome): void {
    // Listeners may write, too.
    if (this.#isAbandoned) return;
    this.#options.listener.checkpoint(outcome);
    if (!('error' in outcome)) this.#transfers.checkpointWritten(outcome.step);
    const kind = 'error' in outcome ? 'checkpointFailed' : 'checkpointWritten';
    this.#handle({ kind, step: outcome.step });
  }
}
