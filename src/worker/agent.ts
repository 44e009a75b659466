/**
 * A worker's main thread: it moves messages and gradients while the compute thread (replica.ts) runs the kernels, so that a
 * heartbeat is answered and a bucket travels in the middle of backward. `run` reads like the protocol (comm/protocol.ts).
 */
import { hostname } from 'node:os';
import { invariant, messageOf, PeerError, UserError } from '../base/errors.ts';
import { version } from '../base/version.ts';
import type { ControlClient, RingLink, Transport } from '../comm/link.ts';
import {
  type CoordinatorMessageOf,
  decodeBatch,
  decodeCoordinatorMessage,
  encodeMessage,
  protocolVersion,
  type WorkerFailure,
  type WorkerMessage,
  type WorkerPhase,
} from '../comm/protocol.ts';
import { RingAllReduce } from '../comm/ring.ts';
import { addInto } from '../comm/ringBucket.ts';
import { type Config, configSchema } from '../config/schema.ts';
import { nativeAddInto } from '../engine/native/nativeEngine.ts';
import { Inbox } from './inbox.ts';
import { Replica } from './replica.ts';
import type { BuildResult } from './replicaProtocol.ts';
import { newState, StateBytes, StateReceiver, StateSender } from './stateStream.ts';
import { failureOf } from './workerFailure.ts';

export interface AgentOptions {
  readonly transport: Transport;
  readonly coordinatorAddress: string;
  /** The name under which the coordinator knows this worker. */
  readonly id: string;
  /** Workers that share this machine's cores, this one included. */
  readonly workersOnHost: number;
  readonly cores: number;
  /** The run's, if it has one: shown to the coordinator when joining. */
  readonly token?: string | undefined;
}

/** How long a coordinator may take to answer a join. */
const joinAnswerMs = 30_000;

/** Why a run ended, when it ended well. */
class Stopped extends Error {
  override readonly name = 'Stopped';
}

/** The membership of an epoch, from this rank's side. */
interface Membership {
  readonly form: CoordinatorMessageOf<'form'>;
  readonly ring: RingAllReduce;
  readonly built: BuildResult;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #control: ControlClient;
  readonly #ringLink: RingLink;
  readonly #inbox = new Inbox();
  readonly #replica = new Replica();
  readonly #outgoingState = new StateSender((message, payload) => this.#send(message, payload));
  #heartbeat: NodeJS.Timeout | undefined;
  #lastHeardMs = Date.now();
  #phase: WorkerPhase = 'starting';
  #step = 0;

  private constructor(options: AgentOptions, control: ControlClient, ringLink: RingLink) {
    this.#options = options;
    this.#control = control;
    this.#ringLink = ringLink;
    control.onMessage((message, payload) => this.#receive(message, payload));
    control.onServerGone((reason) => this.#inbox.end(new PeerError(`lost the coordinator: ${reason}`)));
  }

  /**
   * Joins the run at `coordinatorAddress` and works until it ends. What failed, if it could not work to the end: the coordinator
   * has been told, unless it could not be reached.
   */
  static async work(options: AgentOptions): Promise<WorkerFailure | undefined> {
    let agent: Agent;
    try {
      agent = await Agent.#connect(options);
    } catch (error) {
      return failureOf(error, 0, 'starting');
    }
    const failure = await agent.#run().catch((error: unknown) => {
      return error instanceof Stopped ? undefined : agent.#report(error);
    });
    try {
      await agent.#close();
    } catch (error) {
      return failure ?? failureOf(error, agent.#step, agent.#phase);
    }
    return failure;
  }

  static async #connect(options: AgentOptions): Promise<Agent> {
    const { transport, coordinatorAddress, id } = options;
    const control = await transport.connect(coordinatorAddress, id);
    try {
      return new Agent(options, control, await transport.openRing(await transport.hostFacing(coordinatorAddress)));
    } catch (error) {
      await control.close();
      throw error;
    }
  }

  /** Until the run ends, which is thrown. */
  async #run(): Promise<never> {
    const { config, vocabSize } = await this.#join();
    const built = await this.#build(config, vocabSize);
    const membership = await this.#form(config, built);
    for (let step = membership.form.step + 1; ; step++) {
      const commit = await this.#trainStep(step, membership, config, vocabSize);
      if (commit.hold) await this.#hold(step, config, vocabSize, built);
    }
  }

  async #join(): Promise<{ config: Config; vocabSize: number }> {
    const { token } = this.#options;
    this.#send({
      type: 'join',
      protocolVersion,
      version,
      host: hostname(),
      pid: process.pid,
      ringAddress: this.#ringLink.address,
      ...(token !== undefined && { token }),
    });
    const noAnswer = setTimeout(
      () =>
        this.#inbox.end(new PeerError(`no answer within ${joinAnswerMs / 1_000} s: is it a coordinator's address?`)),
      joinAnswerMs,
    );
    const { message } = await this.#inbox.take('welcome', 'refused').finally(() => clearTimeout(noAnswer));
    if (message.type === 'refused') throw new UserError(`the coordinator refused this worker: ${message.reason}`);
    const config = configSchema.safeParse(message.config);
    if (!config.success) {
      throw new PeerError(`the coordinator's config is none of this version's: ${messageOf(config.error)}`);
    }
    this.#startHeartbeat(config.data);
    return { config: config.data, vocabSize: message.vocabSize };
  }

  async #build(config: Config, vocabSize: number): Promise<BuildResult> {
    this.#enter('building');
    const { workersOnHost, cores } = this.#options;
    const threads = config.engine.threads || Math.max(1, Math.floor(cores / workersOnHost));
    return this.#inbox.orEnd(this.#replica.build({ config, vocabSize, threads }));
  }

  /** Takes a rank, joins the ring and gets the state in place. */
  async #form(config: Config, built: BuildResult): Promise<Membership> {
    const { message: form } = await this.#inbox.take('form');
    this.#step = form.step;
    const { chunkBytes, stepTimeoutMs } = config.comm;
    const ring = new RingAllReduce({
      link: this.#ringLink,
      reduce: nativeAddInto() ?? addInto,
      chunkBytes,
      stepTimeoutMs,
    });
    const { epoch, rank, worldSize, nextAddress: next, previousAddress: previous } = form;
    ring.form({ epoch, rank, worldSize, next, previous });
    if (form.state === 'receive') await this.#receiveState(built);
    this.#send({
      type: 'ready',
      epoch: form.epoch,
      step: form.step,
      parameterHash: await this.#inbox.orEnd(this.#replica.parameterHash()),
      engine: built.engine,
      tensors: built.tensors,
    });
    return { form, ring, built };
  }

  async #receiveState(built: BuildResult): Promise<void> {
    this.#enter('receiving state');
    const { state: blocks, offsets, sizes } = built;
    const aside = blocks ? undefined : newState(sizes);
    const receiver = new StateReceiver(
      blocks ? StateBytes.ofBlocks(blocks, offsets, sizes) : new StateBytes([aside!]),
      (offset) => this.#send({ type: 'stateAck', step: this.#step, offset }),
    );
    while (!receiver.isComplete) {
      const { message, payload } = await this.#inbox.take('stateChunk');
      receiver.add(message.offset, payload);
    }
    if (aside) await this.#inbox.orEnd(this.#replica.importState({ state: aside }));
  }

  /** One step: forward and backward, with the ring beside it; then wait until everyone is there; then AdamW. */
  async #trainStep(
    step: number,
    { form, ring, built }: Membership,
    config: Config,
    vocabSize: number,
  ): Promise<CoordinatorMessageOf<'commit'>> {
    this.#step = step;
    this.#phase = 'waiting for work';
    const startMs = performance.now();
    const { message: assign, payload } = await this.#inbox.take('assign');
    invariant(assign.step === step, `expected the samples of step ${step}, received those of step ${assign.step}`);
    const { sampleFrom, sampleCount, globalTargets } = assign;
    const batch = decodeBatch(payload, { sampleCount, blockSize: config.model.blockSize, vocabSize });

    this.#phase = 'forward and backward';
    const assignedMs = performance.now();
    ring.begin({ step, data: built.gradients, buckets: built.buckets });
    const loss = await this.#inbox.orEnd(
      this.#replica.step({ step, sampleFrom, sampleCount, globalTargets, ...batch }, (bucket) => ring.start(bucket)),
    );

    if (form.worldSize > 1) this.#enter('all-reduce');
    const computedMs = performance.now();
    await this.#inbox.orEnd(ring.whenDone());
    const reducedMs = performance.now();
    const gradNorm = await this.#inbox.orEnd(this.#replica.gradNorm());
    if (!Number.isFinite(gradNorm)) {
      throw new UserError(
        `the gradient of step ${step} is not finite: lower schedule.learningRate or set optimizer.gradClip`,
      );
    }
    this.#send({ type: 'reduced', epoch: form.epoch, step, ...loss, gradNorm });

    this.#phase = 'waiting for commit';
    const { message: commit } = await this.#inbox.take('commit');
    invariant(commit.step === step, `expected the commit of step ${step}, received that of step ${commit.step}`);
    this.#phase = 'optimizer';
    const commitMs = performance.now();
    await this.#inbox.orEnd(this.#outgoingState.keep());
    await this.#inbox.orEnd(this.#replica.apply({ step, learningRate: commit.learningRate, gradNorm }));
    const parameterHash = commit.hash ? await this.#inbox.orEnd(this.#replica.parameterHash()) : undefined;
    this.#send({
      type: 'applied',
      epoch: form.epoch,
      step,
      timings: {
        dataWaitMs: assignedMs - startMs,
        forwardBackwardMs: computedMs - assignedMs,
        ringWaitMs: reducedMs - computedMs,
        commitWaitMs: commitMs - reducedMs,
        optimizerMs: performance.now() - commitMs,
      },
      ringBytesSent: ring.stats().bytesSent,
      ...(parameterHash !== undefined && { parameterHash }),
    });
    return commit;
  }

  /** Between two steps: evaluations and snapshots, until the coordinator lets the next step begin. */
  async #hold(step: number, config: Config, vocabSize: number, built: BuildResult): Promise<void> {
    for (;;) {
      this.#phase = 'waiting for work';
      const { message, payload } = await this.#inbox.take('evaluate', 'snapshot', 'proceed');
      const { epoch } = message;
      if (message.type === 'proceed') return;
      if (message.type === 'evaluate') {
        this.#enter('evaluation');
        const { sampleCount } = message;
        const batch = decodeBatch(payload, { sampleCount, blockSize: config.model.blockSize, vocabSize });
        const loss = await this.#inbox.orEnd(this.#replica.evaluate({ sampleCount, ...batch }));
        if (!Number.isFinite(loss.lossSum)) {
          throw new UserError(
            `the validation loss after step ${step} is not finite: lower schedule.learningRate or set optimizer.gradClip`,
          );
        }
        this.#send({ type: 'evaluated', epoch, step, ...loss });
      } else {
        this.#enter('snapshot');
        const state = await this.#snapshot(built);
        this.#send({ type: 'snapshotTaken', epoch, step, bytes: state.byteLength });
        this.#outgoingState.start(step, state, { isCopy: built.state === undefined });
      }
    }
  }

  /** The state itself where it can be read, until the next update; else a copy. */
  async #snapshot({ state: blocks, offsets, sizes }: BuildResult): Promise<StateBytes> {
    if (blocks) return StateBytes.ofBlocks(blocks, offsets, sizes);
    const state = newState(sizes);
    await this.#inbox.orEnd(this.#replica.exportState({ state }));
    return new StateBytes([state]);
  }

  #receive(frame: Uint8Array, payload: Uint8Array | undefined): void {
    this.#lastHeardMs = Date.now();
    try {
      const message = decodeCoordinatorMessage(frame);
      if (message.type === 'stop') this.#inbox.end(new Stopped(message.reason));
      else if (message.type === 'stateAck') this.#outgoingState.acknowledged(message.step, message.offset);
      else if (message.type === 'stateGivenUp') this.#outgoingState.drop(message.step);
      else if (message.type !== 'heartbeat') this.#inbox.deliver({ message, payload });
    } catch (error) {
      this.#inbox.end(error);
    }
  }

  #startHeartbeat({ comm: { heartbeatIntervalMs, heartbeatTimeoutMs } }: Config): void {
    this.#heartbeat = setInterval(() => {
      this.#send({ type: 'heartbeat', step: this.#step, phase: this.#phase });
      const silentMs = Date.now() - this.#lastHeardMs;
      if (silentMs > heartbeatTimeoutMs) {
        this.#inbox.end(new PeerError(`the coordinator has been silent for ${(silentMs / 1_000).toFixed(1)} s`));
      }
    }, heartbeatIntervalMs);
  }

  /** Tells the coordinator of a phase that it cannot know from the other messages of a step (decide.ts). */
  #enter(phase: WorkerPhase): void {
    this.#phase = phase;
    this.#send({ type: 'phase', step: this.#step, phase });
  }

  #send(message: WorkerMessage, payload?: Uint8Array): void {
    this.#control.send(encodeMessage(message), payload);
  }

  #report(error: unknown): WorkerFailure {
    const failure = failureOf(error, this.#step, this.#phase);
    this.#send({ type: 'failed', ...failure });
    return failure;
  }

  async #close(): Promise<void> {
    clearInterval(this.#heartbeat);
    this.#outgoingState.drop();
    await Promise.all([this.#ringLink.close(), this.#control.close(), this.#replica.close()]);
  }
}
