/**
 * The rim around the decision core: it turns messages, exits and time into events, and carries the effects out over the
 * control link, the dataset, the checkpoint store and the metrics. It decides nothing itself, and it computes nothing:
 * it runs on a machine without an engine.
 */
import { InvariantError, messageOf, PeerError, UserError } from '../base/errors.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { CheckpointStore } from '../checkpoint/store.ts';
import type { CheckpointContents } from '../checkpoint/writer.ts';
import type { ControlServer } from '../comm/link.ts';
import {
  type CoordinatorMessage,
  decodeWorkerMessage,
  encodeBatch,
  encodeMessage,
  type WorkerMessage,
} from '../comm/protocol.ts';
import { learningRateAt } from '../config/schedule.ts';
import type { Config } from '../config/schema.ts';
import type { Dataset } from '../data/dataset.ts';
import { trainBatch } from '../data/sampler.ts';
import { Checkpointer, type CheckpointOutcome, StateFeed } from './checkpointer.ts';
import { decide } from './decide.ts';
import { tokenRefusal } from './joinToken.ts';
import type { MetricsLog, StepMetrics } from './metricsLog.ts';
import { type Effect, initialState, type Member, type RunEvent, type RunPlan, type RunState } from './runState.ts';
import { ValidationPlan } from './validationPlan.ts';

/** What a user may want to see of a run. */
export interface RunListener {
  started(members: readonly Member[]): void;
  step(metrics: StepMetrics): void;
  evaluated(step: number, valLoss: number): void;
  checkpoint(outcome: CheckpointOutcome): void;
  warning(message: string): void;
}

export interface CoordinatorOptions {
  readonly config: Config;
  readonly dataset: Dataset;
  /** Where workers join; it stays the caller's to close. */
  readonly server: ControlServer;
  /** Workers that must join before the run starts. */
  readonly worldSize: number;
  /** Ids of the workers that this machine starts; `workerExited` is called for them. */
  readonly localWorkers: ReadonlySet<string>;
  readonly store: CheckpointStore;
  readonly metrics: MetricsLog;
  /** The checkpoint to go on from. */
  readonly resume?: Checkpoint;
  readonly listener: RunListener;
  /** What a worker must show to join; without it everybody may. */
  readonly token?: string | undefined;
}

const tickIntervalMs = 250;
/** Warnings about strangers that are shown. */
const warningsMax = 10;

export class Coordinator {
  /** Steps applied when the run has ended well; rejects with a PeerError or UserError when it has not. */
  readonly finished: Promise<number>;
  readonly #options: CoordinatorOptions;
  readonly #server: ControlServer;
  readonly #checkpointer: Checkpointer;
  readonly #validation: ValidationPlan;
  readonly #feeds = new Map<string, StateFeed>();
  readonly #ticker: NodeJS.Timeout;
  #state: RunState;
  #stepStartedMs = performance.now();
  #warnings = 0;
  #lastValLoss: { step: number; loss: number } | undefined;
  #settle: { resolve: (step: number) => void; reject: (error: Error) => void };

  constructor(options: CoordinatorOptions) {
    const { server } = options;
    this.#options = options;
    this.#server = server;
    this.#state = initialState(planOf(options), Date.now());
    this.#validation = new ValidationPlan(options.dataset, options.config);
    this.#settle = { resolve: () => {}, reject: () => {} };
    this.finished = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // The run may fail before anyone awaits it; whoever awaits `finished` still sees the error.
    this.finished.catch(() => {});
    this.#checkpointer = new Checkpointer({
      store: options.store,
      acknowledge: (to, step, offset) => this.#send(to, { type: 'stateAck', step, offset }),
      giveUp: (to, step) => this.#send(to, { type: 'stateGivenUp', step }),
      onOutcome: (outcome) => this.#checkpointEnded(outcome),
    });
    server.onMessage((peer, frame, payload) => this.#receive(peer, frame, payload));
    server.onPeerGone((peer, reason) => {
      // The exit of a process of this machine is reported by itself, and says more.
      if (options.localWorkers.has(peer)) return;
      this.#handle({ kind: 'peerGone', id: peer, reason });
    });
    this.#ticker = setInterval(() => this.#handle({ kind: 'tick' }), tickIntervalMs);
  }

  /** A worker of this machine has ended, and how. */
  workerExited(exit: Omit<Extract<RunEvent, { kind: 'workerExited' }>, 'kind'>): void {
    this.#handle({ kind: 'workerExited', ...exit });
  }

  /** Ends the run in order: the step in progress, a checkpoint, then `finished`. */
  requestStop(): void {
    this.#handle({ kind: 'stopRequested' });
  }

  /** Lets go of everything; a checkpoint that is being written is given up. */
  async close(): Promise<void> {
    clearInterval(this.#ticker);
    for (const feed of this.#feeds.values()) feed.stop();
    await this.#checkpointer.abort();
    await this.#options.metrics.flush();
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
      this.#warn(`refused ${peer}, which asked to join: ${refusal}`);
      return;
    }
    if (message.type === 'stateChunk') this.#checkpointer.receive(peer, message.step, message.offset, payload);
    else if (message.type === 'stateAck') this.#feeds.get(peer)?.acknowledged(message.offset);
    this.#handle({ kind: 'message', from: peer, message });
  }

  /** Whatever fails here ends the run: it is called from timers and sockets, where nobody would catch it. */
  #handle(event: RunEvent): void {
    try {
      const { state, effects } = decide(this.#state, event, Date.now());
      this.#state = state;
      for (const effect of effects) this.#carryOut(effect);
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#settle.reject(error instanceof Error ? error : new InvariantError(messageOf(error)));
  }

  #carryOut(effect: Effect): void {
    const { listener, config, dataset } = this.#options;
    switch (effect.kind) {
      case 'send':
        this.#sendFilledIn(effect.to, effect.message);
        break;
      case 'welcome':
        this.#send(effect.to, { type: 'welcome', config, vocabSize: dataset.vocabSize });
        break;
      case 'assign': {
        const { to, epoch, step, sampleFrom, sampleCount } = effect;
        const { blockSize } = config.model;
        const { seed, globalBatchSize } = config.train;
        // The sampler counts steps from 0.
        const batch = trainBatch(dataset, { seed, step: step - 1, from: sampleFrom, count: sampleCount, blockSize });
        const globalTargets = globalBatchSize * blockSize;
        this.#send(to, { type: 'assign', epoch, step, sampleFrom, sampleCount, globalTargets }, encodeBatch(batch));
        break;
      }
      case 'evaluate': {
        const { to, epoch, step, rank } = effect;
        const { sampleCount, batch } = this.#validation.share(rank, this.#state.members.length);
        this.#send(to, { type: 'evaluate', epoch, step, sampleCount }, encodeBatch(batch));
        break;
      }
      case 'sendState':
        this.#feedState(effect.to, effect.step);
        break;
      case 'beginCheckpoint': {
        const { step, from, bytes, tensors } = effect;
        this.#checkpointer.begin({ step, from, bytes, contents: this.#checkpointContents(step, tensors) });
        break;
      }
      case 'started':
        this.#stepStartedMs = performance.now();
        listener.started(effect.members);
        break;
      case 'stepDone':
        this.#stepDone(effect);
        break;
      case 'evaluationDone':
        this.#lastValLoss = { step: effect.step, loss: effect.loss };
        this.#options.metrics.append({ step: effect.step, valLoss: effect.loss, valTargets: effect.targets });
        listener.evaluated(effect.step, effect.loss);
        break;
      case 'warn':
        this.#warn(effect.message);
        break;
      case 'finish':
        this.#settle.resolve(effect.step);
        break;
      case 'fail':
        this.#settle.reject(effect.blame === 'user' ? new UserError(effect.message) : new PeerError(effect.message));
        break;
      default:
        throw new InvariantError(`unknown effect ${JSON.stringify(effect satisfies never)}`);
    }
  }

  /** Whoever reaches the port can cause warnings: they must not fill a terminal. */
  #warn(message: string): void {
    if (++this.#warnings > warningsMax) return;
    this.#options.listener.warning(
      this.#warnings < warningsMax ? message : `${message} (further warnings of this kind are left out)`,
    );
  }

  #send(to: string, message: CoordinatorMessage, payload?: Uint8Array): void {
    this.#server.send(to, encodeMessage(message), payload);
  }

  #sendFilledIn(to: string, message: CoordinatorMessage): void {
    if (message.type === 'proceed') this.#stepStartedMs = performance.now();
    this.#send(
      to,
      message.type === 'commit' ? { ...message, learningRate: this.#learningRate(message.step) } : message,
    );
  }

  #learningRate(step: number): number {
    const { schedule, train } = this.#options.config;
    return learningRateAt(step - 1, { ...schedule, decaySteps: schedule.decaySteps || train.maxSteps });
  }

  #stepDone({ step, epoch, loss, gradNorm, ranks }: Extract<Effect, { kind: 'stepDone' }>): void {
    const { config, metrics, listener } = this.#options;
    const stepTokens = config.train.globalBatchSize * config.model.blockSize;
    const nowMs = performance.now();
    const line: StepMetrics = {
      step,
      loss,
      lr: this.#learningRate(step),
      gradNorm,
      tokens: step * stepTokens,
      tokensPerSecond: (stepTokens / (nowMs - this.#stepStartedMs)) * 1_000,
      epoch,
      ranks: ranks.map(({ rank, timings, ringBytesSent }) => ({ rank, ...timings, ringBytesSent })),
      ...(ranks[0]?.parameterHash !== undefined && { parameterHash: ranks[0].parameterHash }),
    };
    this.#stepStartedMs = nowMs;
    metrics.append(line);
    listener.step(line);
  }

  #feedState(to: string, step: number): void {
    const { resume } = this.#options;
    if (resume === undefined) throw new InvariantError('state is to be sent, but the run resumes nothing');
    const feed = new StateFeed();
    this.#feeds.set(to, feed);
    feed
      .run(
        resume,
        resume.tensors.map(({ name }) => name),
        (offset, chunk) => this.#send(to, { type: 'stateChunk', step, offset }, chunk),
      )
      .catch((error: unknown) => this.#fail(error));
  }

  #checkpointContents(step: number, tensors: CheckpointContents['tensors']): CheckpointContents {
    const { config, dataset } = this.#options;
    const samplesSeen = step * config.train.globalBatchSize;
    return {
      tensors,
      modelConfig: { ...config.model, vocabSize: dataset.vocabSize },
      tokenizerFiles: dataset.tokenizer.files(),
      trainer: {
        step,
        seed: config.train.seed,
        data: { sha256: dataset.sha256, samplesSeen },
        valLoss: this.#lastValLoss?.step === step ? this.#lastValLoss.loss : null,
        config,
      },
    };
  }

  #checkpointEnded(outcome: CheckpointOutcome): void {
    this.#options.listener.checkpoint(outcome);
    const kind = 'error' in outcome ? 'checkpointFailed' : 'checkpointWritten';
    this.#handle({ kind, step: outcome.step });
  }
}

function planOf({ config, worldSize, resume }: CoordinatorOptions): RunPlan {
  const { train, comm, checkpoint } = config;
  return {
    worldSize,
    startStep: resume?.trainer?.step ?? 0,
    maxSteps: train.maxSteps,
    globalBatchSize: train.globalBatchSize,
    evalEverySteps: config.eval.everySteps,
    checkpointEverySteps: checkpoint.everySteps,
    hashEverySteps: train.hashEverySteps,
    heartbeatTimeoutMs: comm.heartbeatTimeoutMs,
    joinTimeoutMs: comm.joinTimeoutMs,
  };
}
