/**
 * A worker's main thread: it moves messages and gradients while the compute thread (replicaThreadMain.ts) runs the kernels, so that a
 * heartbeat is answered and a bucket travels in the middle of backward. `#run` reads like the protocol (comm/protocol.ts).
 *
 * Its connection to the coordinator is coordinatorLink.ts: it may be lost and made again while a step goes on.
 */
import { hostname } from 'node:os';
import type { Batch } from '../base/batch.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import { invariant, PeerError } from '../base/errors.ts';
import type { FlightRecorder } from '../base/flightRecorder.ts';
import { decodeBatch } from '../comm/batchPayload.ts';
import type { CoordinatorMessage, CoordinatorMessageOf } from '../comm/coordinatorMessages.ts';
import { isTelling } from '../comm/flightMessages.ts';
import type { RingLink, Transport } from '../comm/link.ts';
import type { WorkerPhase } from '../comm/messageFields.ts';
import { RingAllReduce, RingError } from '../comm/ring.ts';
import type { WorkerFailure, WorkerMessage } from '../comm/workerMessages.ts';
import { hostAdd } from '../engine/hostAdd.ts';
import { checkFinite } from '../model/divergence.ts';
import { objectiveOf } from '../model/objectives/registry.ts';
import { checkBatch } from '../task/fields.ts';
import { CoordinatorLink } from './coordinatorLink.ts';
import { Inbox } from './inbox.ts';
import { type Replica, ReplicaThread } from './replicaThread.ts';
import { StateSender } from './stateStream.ts';
import { StepTrace } from './stepTrace.ts';
import { type Job, TrackedReplica } from './trackedReplica.ts';
import { failureOf } from './workerFailure.ts';

export interface AgentOptions {
  readonly transport: Transport;
  readonly coordinatorAddress: string;
  /** The run's, if it has one: shown to the coordinator when joining. */
  readonly token?: string | undefined;
  /** The name under which the coordinator knows this worker. */
  readonly id: string;
  /** Workers that share this machine's cores, this one included. */
  readonly workersOnHost: number;
  readonly cores: number;
  readonly clock?: Clock;
  /** A new compute thread, or what stands for one. */
  readonly makeReplica?: () => Replica;
  /** The process that it runs in, as others see it. */
  readonly host?: string;
  readonly pid?: number;
  /** Written if this worker or the run fails. */
  readonly recorder?: FlightRecorder;
  /** For what does not end the run. */
  readonly warn?: (message: string) => void;
}

/** The coordinator ended this worker's part; `failed`: because the run failed, though not by this worker. */
class Stopped extends Error {
  override readonly name = 'Stopped';
  readonly failed: boolean;

  constructor({ reason, failed }: CoordinatorMessageOf<'stop'>) {
    super(reason);
    this.failed = failed;
  }
}

/** The term is over for this rank: a new one has come, or its ring is broken. */
class TermOver extends Error {
  override readonly name = 'TermOver';
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #ringLink: RingLink;
  readonly #inbox = new Inbox();
  readonly #checkpointStream = new StateSender((message, payload) => this.#send(message, payload), 'checkpoint');
  readonly #transferStream = new StateSender((message, payload) => this.#send(message, payload), 'transfer');
  #link: CoordinatorLink | undefined;
  readonly #clock: Clock;
  readonly #held: TrackedReplica;
  #ring: RingAllReduce | undefined;
  #phase: WorkerPhase = 'starting';
  #step = 0;
  #term = 0;
  #isLeaving = false;

  private constructor(options: AgentOptions, ringLink: RingLink) {
    this.#options = options;
    this.#ringLink = ringLink;
    this.#clock = options.clock ?? systemClock;
    this.#held = new TrackedReplica({
      makeReplica: options.makeReplica ?? (() => new ReplicaThread()),
      inbox: this.#inbox,
      send: (message) => this.#send(message),
    });
  }

  /**
   * Joins the run at `coordinatorAddress` and works until it ends. What failed, if it could not work to the end: the coordinator
   * has been told, unless it could not be reached.
   * @param onStart told the agent, so that it can be asked to leave
   */
  static async work(
    options: AgentOptions,
    onStart: (agent: Agent) => void = () => {},
  ): Promise<WorkerFailure | undefined> {
    let agent: Agent;
    try {
      agent = await Agent.#connect(options);
    } catch (error) {
      return failureOf(error, 0, 'starting');
    }
    onStart(agent);
    const failure = await agent.#run().catch((error: unknown) => agent.#ended(error));
    try {
      await agent.#close();
    } catch (error) {
      return failure ?? failureOf(error, agent.#step, agent.#phase);
    }
    return failure;
  }

  /** Asks the coordinator to let this worker go at the next step boundary: again whenever it joins, until it is gone. */
  leave(): void {
    this.#isLeaving = true;
    this.#send({ type: 'leave' });
  }

  static async #connect(options: AgentOptions): Promise<Agent> {
    const { transport, coordinatorAddress, id } = options;
    const ringLink = await transport.openRing(await transport.hostFacing(coordinatorAddress));
    const agent = new Agent(options, ringLink);
    try {
      agent.#link = await CoordinatorLink.open({
        transport,
        address: coordinatorAddress,
        worker: id,
        host: options.host ?? hostname(),
        pid: options.pid ?? process.pid,
        clock: agent.#clock,
        ringAddress: ringLink.address,
        token: options.token,
        claim: () => agent.#held.claim,
        pulse: () => {
          return { step: agent.#step, phase: agent.#phase, ringFrames: agent.#ring?.stats().framesReceived ?? 0 };
        },
        record: (what, details) => agent.#record(what, details),
        onMessage: (message, payload) => agent.#receive(message, payload),
        onWelcome: () => agent.#welcomed(),
        onLost: (error) => agent.#inbox.end(error),
      });
      return agent;
    } catch (error) {
      await Promise.all([ringLink.close(), agent.#held.close()]);
      throw error;
    }
  }

  /** Until the run ends, which is thrown. */
  async #run(): Promise<never> {
    invariant(this.#link !== undefined, 'an agent runs without a link');
    const welcome = await this.#inbox.orEnd(this.#link.join());
    const { engine, comm } = welcome.config;
    const { workersOnHost, cores } = this.#options;
    const job: Job = { ...welcome, threads: engine.threads || Math.max(1, Math.floor(cores / workersOnHost)) };
    const { chunkBytes, stepTimeoutMs } = comm;
    const reduce = hostAdd().addInto;
    const ring = new RingAllReduce({ link: this.#ringLink, reduce, chunkBytes, stepTimeoutMs, clock: this.#clock });
    this.#ring = ring;
    this.#enter('building');
    await this.#held.build(job);
    this.#tellPrepared();
    for (;;) {
      this.#enter('waiting for work');
      const { message: form } = await this.#inbox.takeForm();
      try {
        await this.#termOf(form, ring, job);
      } catch (error) {
        if (!(error instanceof TermOver)) throw error;
      } finally {
        this.#giveUpStep(ring);
      }
    }
  }

  #welcomed(): void {
    this.#tellPrepared();
    // It may have been said while there was no connection, or for a place that is lost.
    if (this.#isLeaving) this.#send({ type: 'leave' });
  }

  #tellPrepared(): void {
    if (!this.#held.isBuilt) return;
    const { engine, engineId, tensors, measured } = this.#held.built;
    const limit = measured && { ...measured, cores: this.#options.cores };
    this.#send({ type: 'prepared', engine, engineId, tensors, ...(limit && { limit }) });
  }

  /** One membership: take a rank, get the state in place, then step after step. Ends with TermOver, or with the run. */
  async #termOf(form: CoordinatorMessageOf<'form'>, ring: RingAllReduce, job: Job): Promise<never> {
    const { term, rank, worldSize, nextAddress: next, previousAddress: previous } = form;
    this.#step = form.step;
    this.#term = term;
    ring.form({ term, rank, worldSize, next, previous });
    if (form.state === 'receive') this.#enter('receiving state');
    await this.#held.take(form);
    const stateHash = form.verify ? await this.#inbox.orEnd(this.#held.replica.stateHash()) : undefined;
    this.#send({ type: 'ready', term, step: form.step, ...(stateHash !== undefined && { stateHash }) });
    if (form.send) this.#transferStream.start(form, await this.#held.snapshot());
    await this.#hold(form.step, job);
    for (let step = form.step + 1; ; step++) {
      const commit = await this.#trainStep(step, form, ring, job);
      if (commit.hold) await this.#hold(step, job);
    }
  }

  /** Leaves the ring: what was done for an uncommitted step is void. */
  #giveUpStep(ring: RingAllReduce): void {
    ring.abort(new PeerError('the term is over'));
    this.#transferStream.drop();
    this.#held.giveUpStep();
  }

  /** One step: forward and backward, with the ring beside it; then wait until everyone is there; then AdamW. */
  async #trainStep(
    step: number,
    form: CoordinatorMessageOf<'form'>,
    ring: RingAllReduce,
    job: Job,
  ): Promise<CoordinatorMessageOf<'commit'>> {
    const { term } = form;
    const { gradients, buckets } = this.#held.built;
    this.#step = step;
    this.#phase = 'waiting for work';
    const startMs = this.#clock.monotonic();
    const { message: assign, payload } = await this.#inbox.take('assign');
    invariant(assign.step === step, `expected the samples of step ${step}, received those of step ${assign.step}`);
    const { sampleFrom, sampleCount, globalWeight } = assign;
    const batch = batchOf(assign, payload, job);

    this.#phase = 'forward and backward';
    const assignedMs = this.#clock.monotonic();
    const trace = assign.trace ? new StepTrace() : undefined;
    const onReduced = (bucket: number): void => this.#held.replica.reduced(bucket);
    ring.begin({ step, data: gradients, buckets, onReduced, observer: trace?.ring });
    const task = { step, sampleFrom, batch, globalWeight, trace: assign.trace };
    const sums = await this.#computing(
      this.#held.replica.step(task, (bucket) => ring.start(bucket)),
      ring,
    );

    if (form.worldSize > 1) this.#enter('all-reduce');
    const computedMs = this.#clock.monotonic();
    await this.#inbox.orEnd(ring.whenDone()).catch((error: unknown) => this.#ringBroke(error, form));
    const reducedMs = this.#clock.monotonic();
    const gradNorm = await this.#inbox.orEnd(this.#held.replica.gradNorm());
    checkFinite(`the norm of the gradient of step ${step}`, gradNorm);
    this.#held.reduced(step, term);
    const saidMs = this.#clock.monotonic();
    this.#send({ type: 'reduced', term, step, sampleFrom, sampleCount, sums, gradNorm });

    this.#phase = 'waiting for commit';
    let { message: commit } = await this.#inbox.take('commit');
    // One that was being applied as this worker joined again is sent once more.
    while (commit.step < step) commit = (await this.#inbox.take('commit')).message;
    invariant(commit.step === step, `expected the commit of step ${step}, received that of step ${commit.step}`);
    this.#phase = 'optimizer';
    const commitMs = this.#clock.monotonic();
    const { learningRate } = commit;
    // A commit holds whatever comes after it: this is not interrupted.
    await this.#checkpointStream.keep();
    await this.#held.apply({ step, learningRate, gradNorm: commit.gradNorm }, term);
    const parameterHash = commit.hash ? await this.#held.replica.parameterHash() : undefined;
    const appliedMs = this.#clock.monotonic();
    if (trace !== undefined) {
      // Before `applied`, after which the run may be over.
      trace.add('agent', 'wait for data', startMs, assignedMs);
      trace.add('agent', 'forward and backward', assignedMs, computedMs);
      trace.add('agent', 'wait for the ring', computedMs, reducedMs);
      trace.add('agent', 'gradient norm', reducedMs, saidMs);
      trace.add('agent', 'wait for commit', saidMs, commitMs);
      trace.add('agent', 'optimizer', commitMs, appliedMs);
      this.#send(...trace.message({ term, step }, await this.#held.replica.takeSpans()));
    }
    this.#send({
      type: 'applied',
      term,
      step,
      timings: {
        dataWaitMs: assignedMs - startMs,
        forwardBackwardMs: computedMs - assignedMs,
        ringWaitMs: reducedMs - computedMs,
        commitWaitMs: commitMs - saidMs,
        optimizerMs: saidMs - reducedMs + appliedMs - commitMs,
      },
      ringBytesSent: ring.stats().bytesSent,
      ...(parameterHash !== undefined && { parameterHash }),
    });
    return commit;
  }

  /** Waits for the compute thread even when the term is over: its next task needs the same buffers. */
  async #computing<T>(work: Promise<T>, ring: RingAllReduce): Promise<T> {
    try {
      return await this.#inbox.orEnd(work);
    } catch (error) {
      ring.abort(new PeerError('the step is given up'));
      this.#held.replica.giveUp();
      await work.catch(() => undefined);
      throw error;
    }
  }

  /** Tells the coordinator, which opens another term. */
  #ringBroke(error: unknown, { term }: CoordinatorMessageOf<'form'>): never {
    if (!(error instanceof RingError)) throw error;
    const { suspect } = error;
    const message = error.message.slice(0, 4_000);
    const ringFrames = this.#ring?.stats().framesReceived ?? 0;
    this.#send({ type: 'ringBroken', term, step: this.#step, suspect, ringFrames, message });
    throw new TermOver(message);
  }

  /** Between two steps: evaluations and snapshots, until the coordinator lets the next step begin. */
  async #hold(step: number, job: Job): Promise<void> {
    for (;;) {
      this.#phase = 'waiting for work';
      const { message, payload } = await this.#inbox.take('evaluate', 'snapshot', 'proceed');
      const { term } = message;
      if (message.type === 'proceed') return;
      if (message.type === 'evaluate') {
        this.#enter('evaluation');
        const { part } = message;
        const batch = batchOf(message, payload, job);
        const sums = await this.#inbox.orEnd(this.#held.replica.evaluate({ step, batch }));
        this.#send({ type: 'evaluated', term, step, part, sums });
      } else {
        this.#enter('snapshot');
        const state = await this.#held.snapshot();
        this.#send({ type: 'snapshotTaken', term, step, bytes: state.byteLength });
        this.#checkpointStream.start({ term, step }, state, { isCopy: this.#held.built.state === undefined });
      }
    }
  }

  #receive(message: CoordinatorMessage, payload: Uint8Array | undefined): void {
    if (isTelling(message)) this.#record('received', message);
    if (message.type === 'stop') this.#inbox.end(new Stopped(message));
    else if (message.type === 'stateAck') this.#streamOf(message.purpose).acknowledged(message);
    else if (message.type === 'stateGivenUp') this.#checkpointStream.drop(message.step);
    else if (message.type === 'form') {
      if (message.term <= this.#term) return; // of a coordinator that has been replaced
      this.#inbox.deliver({ message, payload });
      this.#inbox.interrupt(new TermOver(`term ${message.term} has begun`));
    } else this.#inbox.deliver({ message, payload });
  }

  #streamOf(purpose: 'checkpoint' | 'transfer'): StateSender {
    return purpose === 'checkpoint' ? this.#checkpointStream : this.#transferStream;
  }

  /** Tells the coordinator of a phase that it cannot know from the other messages of a step (decide.ts). */
  #enter(phase: WorkerPhase): void {
    this.#phase = phase;
    this.#send({ type: 'phase', step: this.#step, phase });
  }

  #send(message: WorkerMessage, payload?: Uint8Array): void {
    if (isTelling(message)) this.#record('sent', message);
    this.#link?.send(message, payload);
  }

  #record(what: string, details: object): void {
    this.#options.recorder?.record(what, details);
  }

  /** What failed, if this worker did: the coordinator is told. */
  #ended(error: unknown): WorkerFailure | undefined {
    const failure = error instanceof Stopped ? undefined : failureOf(error, this.#step, this.#phase);
    if (failure !== undefined) this.#send({ type: 'failed', ...failure });
    const isBad = failure !== undefined || (error as Stopped).failed;
    const problem = isBad ? this.#options.recorder?.write() : undefined;
    if (problem !== undefined) this.#options.warn?.(problem);
    return failure;
  }

  async #close(): Promise<void> {
    this.#checkpointStream.drop();
    this.#transferStream.drop();
    await Promise.all([this.#ringLink.close(), this.#link?.close(), this.#held.close()]);
  }
}

/** The samples of a message, held to the rules of the objective. @throws PeerError */
function batchOf(
  message: CoordinatorMessageOf<'assign' | 'evaluate'>,
  payload: Uint8Array | undefined,
  { config, vocabSize, objective }: Job,
): Batch {
  const batch = decodeBatch(message, payload);
  checkBatch(batch, objectiveOf(objective).fields({ ...config.model, vocabSize }));
  return batch;
}
