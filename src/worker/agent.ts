/**
 * A worker's main thread: it moves messages and gradients while the compute thread (replicaThreadMain.ts) runs the kernels, so that
 * heartbeats are answered and buckets travel during backward. term.ts has its work as a member of the ring.
 *
 * coordinatorLink.ts is its connection to the coordinator, which may be lost and restored during a step.
 */
import { hostname } from 'node:os';
import { type Clock, systemClock } from '../base/clock.ts';
import { invariant, PeerError } from '../base/errors.ts';
import type { FlightRecorder } from '../base/flightRecorder.ts';
import type { CoordinatorMessage, CoordinatorMessageOf } from '../comm/coordinatorMessages.ts';
import { isTelling } from '../comm/flightMessages.ts';
import type { RingLink, Transport } from '../comm/link.ts';
import { stateChunkBytes } from '../comm/protocol.ts';
import { RingAllReduce } from '../comm/ring.ts';
import type { WorkerFailure, WorkerMessage } from '../comm/workerMessages.ts';
import { hostAdd } from '../engine/hostAdd.ts';
import { isPolicyKind } from '../task/kinds.ts';
import { CoordinatorLink, type JobNodeStart } from './coordinatorLink.ts';
import { Inbox } from './inbox.ts';
import type { Job } from './replicaProtocol.ts';
import { type Replica, ReplicaThread } from './replicaThread.ts';
import { type RunEnd, runEndOf } from './runEnd.ts';
import { StateSender } from './stateStream.ts';
import { Term, TermOver } from './term.ts';
import { TrackedReplica } from './trackedReplica.ts';
import { failureOf } from './workerFailure.ts';
import { WorkerStatus } from './workerStatus.ts';

export interface AgentOptions {
  readonly transport: Transport;
  readonly coordinatorAddress: string;
  /**
   * Where its ring end listens, as `openRing` of the transport takes it. For a worker on the coordinator's machine: where the coordinator
   * listens. Absent for others.
   */
  readonly ringHost?: string | undefined;
  /** The run's token, if it has one; presented to the coordinator when joining. */
  readonly token?: string | undefined;
  /** The coordinator's name for this worker. */
  readonly id: string;
  /** Number of workers that share this machine's cores, including this one. */
  readonly workersOnHost: number;
  /** Its index among them, from 0; it takes the device with that index if the config names none. */
  readonly localIndex: number;
  readonly cores: number;
  readonly clock?: Clock;
  /** Bytes of a chunk of its state. Default: that of the protocol. */
  readonly stateChunkBytes?: number;
  /** Creates a compute thread or a substitute. */
  readonly makeReplica?: () => Replica;
  /** The process it runs in, as reported to others. */
  readonly host?: string;
  readonly pid?: number;
  /** Written if this worker or the run fails. */
  readonly recorder?: FlightRecorder;
  /** Called with problems that do not end the run. */
  readonly warn?: (message: string) => void;
  /** The node of a job that it belongs to: its rank, and a name of its start. */
  readonly node?: JobNodeStart | undefined;
  /** Called when the coordinator has ended this worker's part. */
  readonly onEnd?: (end: RunEnd) => void;
}

/** How long the next rank may take to accept a connection. */
const reachTimeoutMsMax = 5_000;

/** The coordinator ended this worker's part. */
class Stopped extends Error {
  override readonly name = 'Stopped';
  readonly end: RunEnd;

  constructor(message: CoordinatorMessageOf<'stop'>) {
    super(message.reason);
    this.end = runEndOf(message);
  }
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #ringLink: RingLink;
  readonly #inbox = new Inbox();
  readonly #checkpointStream: StateSender;
  /** To the next rank. */
  readonly #transferStream: StateSender;
  #link: CoordinatorLink | undefined;
  readonly #clock: Clock;
  readonly #held: TrackedReplica;
  #ring: RingAllReduce | undefined;
  readonly #status = new WorkerStatus(({ step, phase }) => this.#send({ type: 'phase', step, phase }));
  #isLeaving = false;
  /** The replica is built and has its reference. */
  #isPrepared = false;
  #referenceHash: string | undefined;
  /** Where the requested piece of the reference begins. */
  #wanted: number | undefined;

  private constructor(options: AgentOptions, ringLink: RingLink) {
    this.#options = options;
    this.#ringLink = ringLink;
    this.#clock = options.clock ?? systemClock;
    const { stateChunkBytes: chunkBytes = stateChunkBytes } = options;
    const purpose = 'checkpoint';
    this.#checkpointStream = new StateSender((at, chunk) => this.#send({ type: 'stateChunk', purpose, ...at }, chunk), {
      chunkBytes,
    });
    this.#transferStream = new StateSender(
      ({ term, step, offset }, chunk) => {
        if (term === this.#status.term) this.#ring?.sendPiece(step, offset, chunk);
      },
      { chunkBytes },
    );
    this.#held = new TrackedReplica({
      makeReplica: options.makeReplica ?? (() => new ReplicaThread()),
      inbox: this.#inbox,
    });
  }

  /**
   * Joins the run at `coordinatorAddress` and works until it ends. Returns the failure if it could not work to the end; the coordinator
   * has been told, unless it was unreachable.
   * @param onStart receives the agent, so that it can be asked to leave
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
      return failure ?? failureOf(error, agent.#status.step, agent.#status.phase);
    }
    return failure;
  }

  /** Asks the coordinator to release this worker at the next step boundary. Repeated after every join until it is released. */
  leave(): void {
    this.#isLeaving = true;
    this.#send({ type: 'leave' });
  }

  static async #connect(options: AgentOptions): Promise<Agent> {
    const { transport, coordinatorAddress, ringHost, id } = options;
    const isBeside = ringHost !== undefined;
    const ringLink = await transport.openRing(ringHost, { coordinatorAddress, isBeside });
    const agent = new Agent(options, ringLink);
    try {
      agent.#link = await CoordinatorLink.open({
        transport,
        address: coordinatorAddress,
        worker: id,
        host: options.host ?? hostname(),
        pid: options.pid ?? process.pid,
        clock: agent.#clock,
        ringAddress: () => ringLink.address,
        token: options.token,
        node: options.node,
        claim: () => agent.#held.claim,
        pulse: () => {
          return {
            step: agent.#status.step,
            phase: agent.#status.phase,
            ringFrames: agent.#ring?.stats().framesReceived ?? 0,
          };
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

  /** Works until the run ends, which throws. */
  async #run(): Promise<never> {
    invariant(this.#link !== undefined, 'an agent runs without a link');
    const welcome = await this.#inbox.orEnd(this.#link.join());
    const { engine, comm } = welcome.config;
    const { workersOnHost, localIndex, cores } = this.#options;
    const threads = engine.threads || Math.max(1, Math.floor(cores / workersOnHost));
    const job: Job = { ...welcome, threads, localIndex };
    const { chunkBytes, stepTimeoutMs, heartbeatTimeoutMs } = comm;
    // A neighbour that cannot be reached is told of before the coordinator finds that nothing moves.
    const reachTimeoutMs = Math.min(reachTimeoutMsMax, heartbeatTimeoutMs / 2);
    const ring = new RingAllReduce({
      link: this.#ringLink,
      reduce: hostAdd().addInto,
      chunkBytes,
      stepTimeoutMs,
      reachTimeoutMs,
      clock: this.#clock,
    });
    this.#ring = ring;
    this.#status.enter('building');
    await this.#held.build(job);
    if (welcome.reference) await this.#receiveReference(welcome.reference);
    if (isPolicyKind(welcome.config.task.kind)) {
      this.#referenceHash = await this.#inbox.orEnd(this.#held.replica.referenceHash());
    }
    this.#isPrepared = true;
    this.#tellPrepared();
    for (;;) {
      this.#status.enter('waiting for work');
      const { message: form } = await this.#inbox.takeForm();
      const term = this.#termOf(form, ring, job);
      try {
        await term.work();
      } catch (error) {
        if (!(error instanceof TermOver)) throw error;
      } finally {
        term.giveUp();
      }
    }
  }

  #termOf(form: CoordinatorMessageOf<'form'>, ring: RingAllReduce, job: Job): Term {
    return new Term({
      form,
      job,
      ring,
      held: this.#held,
      inbox: this.#inbox,
      status: this.#status,
      clock: this.#clock,
      checkpointStream: this.#checkpointStream,
      transferStream: this.#transferStream,
      send: (message, payload) => this.#send(message, payload),
    });
  }

  /** The weights that a policy is compared with: asked for piece by piece. */
  async #receiveReference({ bytes, sha256 }: NonNullable<CoordinatorMessageOf<'welcome'>['reference']>): Promise<void> {
    const file = new Uint8Array(new SharedArrayBuffer(bytes));
    for (let offset = 0; offset < bytes; ) {
      this.#wanted = offset;
      this.#send({ type: 'referenceWanted', offset });
      const { message, payload } = await this.#inbox.take('referenceChunk');
      // The answer to a request that was repeated, because the connection was lost, may come twice.
      if (message.offset !== offset) continue;
      if (payload === undefined || payload.length === 0 || payload.length > bytes - offset) {
        throw new PeerError(
          `expected at most ${bytes - offset} bytes of the reference, received ${payload?.length ?? 0}`,
        );
      }
      file.set(payload, offset);
      offset += payload.length;
    }
    this.#wanted = undefined;
    await this.#inbox.orEnd(this.#held.replica.takeReference({ file, sha256 }));
  }

  #welcomed(): void {
    if (this.#wanted !== undefined) this.#send({ type: 'referenceWanted', offset: this.#wanted });
    this.#tellPrepared();
    // The request may have been made without a connection, or for a lost membership.
    if (this.#isLeaving) this.#send({ type: 'leave' });
  }

  #tellPrepared(): void {
    if (!this.#isPrepared) return;
    const { engine, engineId, tensors, measured } = this.#held.built;
    const limit = measured && { ...measured, cores: this.#options.cores };
    const referenceHash = this.#referenceHash;
    const optional = { ...(limit && { limit }), ...(referenceHash !== undefined && { referenceHash }) };
    this.#send({ type: 'prepared', engine, engineId, tensors, ...optional });
  }

  #receive(message: CoordinatorMessage, payload: Uint8Array | undefined): void {
    if (isTelling(message)) this.#record('received', message);
    if (message.type === 'stop') this.#inbox.end(new Stopped(message));
    else if (message.type === 'stateAck') this.#streamOf(message.purpose).acknowledged(message);
    else if (message.type === 'stateGivenUp') this.#checkpointStream.drop(message.step);
    else if (message.type === 'form') {
      if (message.term <= this.#status.term) return; // from a coordinator that has been replaced
      this.#inbox.deliver({ message, payload });
      this.#inbox.interrupt(new TermOver(`term ${message.term} has begun`));
    } else this.#inbox.deliver({ message, payload });
  }

  #streamOf(purpose: 'checkpoint' | 'transfer'): StateSender {
    return purpose === 'checkpoint' ? this.#checkpointStream : this.#transferStream;
  }

  #send(message: WorkerMessage, payload?: Uint8Array): void {
    if (isTelling(message)) this.#record('sent', message);
    this.#link?.send(message, payload);
  }

  #record(what: string, details: object): void {
    this.#options.recorder?.record(what, details);
  }

  /** This worker's failure, reported to the coordinator. */
  #ended(error: unknown): WorkerFailure | undefined {
    const failure = error instanceof Stopped ? undefined : failureOf(error, this.#status.step, this.#status.phase);
    if (failure !== undefined) this.#send({ type: 'failed', ...failure });
    if (error instanceof Stopped) this.#options.onEnd?.(error.end);
    const isBad = failure !== undefined || (error as Stopped).end === 'failed';
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
