/**
 * A run with pretended workers: a real coordinator in this process, with its journal and metrics, and ZeroMQ on loopback, encrypted as `launch`
 * encrypts it. It takes a step when it is told to, so that nothing of one step is left when the next one is timed.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { declaredTensors } from '../../../src/architecture/trainable.ts';
import { InvariantError, PeerError } from '../../../src/base/errors.ts';
import { type StatePart, type StateTensor, tensorsOf } from '../../../src/base/stateParts.ts';
import { withBenchRun } from '../../../src/bench/benchRun.ts';
import type { ControlServer } from '../../../src/comm/link.ts';
import { stateChunkBytes } from '../../../src/comm/protocol.ts';
import type { Config } from '../../../src/config/configTypes.ts';
import { modelOf } from '../../../src/config/groups/model.ts';
import { configSchema } from '../../../src/config/schema.ts';
import type { StoredState } from '../../../src/coordinator/checkpointer.ts';
import type { Decision } from '../../../src/coordinator/core/effects.ts';
import type { RunEvent } from '../../../src/coordinator/core/runEvents.ts';
import type { RunState } from '../../../src/coordinator/core/runState.ts';
import { openDataset } from '../../../src/data/openDataset.ts';
import { PretendProcesses, type StepOfProcess } from './pretendProcesses.ts';

export interface PretendRunOptions {
  readonly workers: number;
  /** Number of workers that share an agent; 0: each has its own connection. */
  readonly hostWorkers: number;
  /** Number of tokens of a worker in a step. */
  readonly tokens: number;
  /** Absent: the run starts at step 0. Otherwise it resumes from a state of at least this size. */
  readonly stateBytes?: number;
  readonly onWarning: (message: string) => void;
}

/** What the coordinator has sent. */
export interface Sent {
  readonly messages: number;
  readonly bytes: number;
}

const resumedStep = 5;

interface Parts {
  readonly folder: string;
  readonly finished: Promise<number>;
  readonly processes: PretendProcesses;
  readonly config: Config;
  readonly stateBytes: number;
}

export class PretendRun {
  readonly processes: PretendProcesses;
  readonly heartbeatIntervalMs: number;
  /** Size of a replica's state. */
  readonly stateBytes: number;
  readonly #folder: string;
  readonly #finished: Promise<number>;
  #state: RunState | undefined;
  #sent: Sent = { messages: 0, bytes: 0 };
  #times: StepOfProcess[] = [];
  #isDone = (): boolean => false;
  #resolve: () => void = () => {};

  /** Starts a run, hands it to `body` and leaves nothing of it behind. */
  static async with<T>(options: PretendRunOptions, body: (run: PretendRun) => Promise<T>): Promise<T> {
    const { workers, hostWorkers, onWarning, stateBytes } = options;
    const { config, tensors } = await configOf(options);
    let run: PretendRun | undefined;
    let processes: PretendProcesses | undefined;
    return await withBenchRun(
      {
        config,
        encrypted: true,
        onWarning,
        join: (place) => {
          const { heartbeatIntervalMs } = config.comm;
          const model = { hostWorkers, tensors, stateBytes: bytesOf(tensors), heartbeatIntervalMs };
          processes = new PretendProcesses(workers, place, model, (times) => run?.committed(times));
          return processes;
        },
        linkOf: (server) => counted(server, (bytes) => run?.sends(bytes)),
        observe: (event, decision) => run?.saw(event, decision),
        ...(stateBytes !== undefined && { resume: zeroState(config, tensors) }),
      },
      async ({ folder, finished }) => {
        if (processes === undefined) throw new InvariantError('nobody was asked to join');
        run = new PretendRun({ folder, finished, processes, config, stateBytes: bytesOf(tensors) });
        return await body(run);
      },
    );
  }

  private constructor({ folder, finished, processes, config, stateBytes }: Parts) {
    this.#folder = folder;
    this.#finished = finished;
    this.processes = processes;
    this.heartbeatIntervalMs = config.comm.heartbeatIntervalMs;
    this.stateBytes = stateBytes;
  }

  get term(): number {
    return this.#state?.term ?? 0;
  }

  get nextStep(): number {
    return (this.#state?.step ?? 0) + 1;
  }

  get sent(): Sent {
    return this.#sent;
  }

  /** Resolves when every worker may train, in a term after `term`. */
  async formed(term = 0): Promise<void> {
    await this.#when(() => this.#state?.stage === 'stepping' && this.#state.term > term);
  }

  /** The workers take the next step. @returns the time from the last `reduced` that was sent to the last `commit` that was received */
  async step(): Promise<number> {
    const step = this.nextStep;
    this.#times = [];
    this.processes.go(step);
    const { count } = this.processes;
    await this.#when(() => this.#times.length === count && this.#state?.appliedStep === step);
    const [sent, received] = [this.#times.map((at) => at.reducedAtMs), this.#times.map((at) => at.atMs)];
    return Math.max(...received) - Math.max(...sent);
  }

  /** The size of a file of the run directory. */
  bytesIn(name: string): number {
    return statSync(join(this.#folder, name)).size;
  }

  committed(times: StepOfProcess): void {
    this.#times.push(times);
    this.#look();
  }

  sends(bytes: number): void {
    this.#sent = { messages: this.#sent.messages + 1, bytes: this.#sent.bytes + bytes };
  }

  saw(_event: RunEvent, { state }: Decision): void {
    this.#state = state;
    this.#look();
  }

  #look(): void {
    if (this.#isDone()) this.#resolve();
  }

  async #when(isDone: () => boolean): Promise<void> {
    const done = new Promise<void>((resolve) => {
      this.#isDone = isDone;
      this.#resolve = resolve;
    });
    this.#look();
    const ended = this.#finished.then(() => Promise.reject(new PeerError('the run ended by itself')));
    await Promise.race([done, ended, this.processes.failed]);
  }
}

/** The smallest model with a state of this size, and a step of one sample for each worker. */
async function configOf({ workers, tokens, stateBytes = 0 }: PretendRunOptions) {
  for (let width = 4; ; width += width < 64 ? 4 : 32) {
    const config = configSchema.parse({
      model: { nLayer: 1, nHead: 1, nEmbd: width, blockSize: tokens },
      train: { workers, maxSteps: 1_000_000, globalBatchSize: workers, microBatchSize: 1 },
      schedule: { warmupSteps: 0 },
      checkpoint: { everySteps: 0 },
      eval: { everySteps: 0 },
    });
    const { tokenizer } = await openDataset(config.data, { blockSize: tokens, validates: false, cwd: process.cwd() });
    const model = modelOf(config.model, tokenizer.vocabSize);
    const tensors = declaredTensors(model, config.train.trainable, config.optimizer);
    if (bytesOf(tensors) >= stateBytes) return { config, tensors };
  }
}

function elementsOf({ shape }: StateTensor): number {
  return shape.reduce((product, size) => product * size, 1);
}

function bytesOf(tensors: readonly StateTensor[]): number {
  return 4 * tensors.reduce((sum, tensor) => sum + tensor.parts.length * elementsOf(tensor), 0);
}

/** A checkpoint with zeros, so that no disk is measured. */
function zeroState({ train }: Config, tensors: readonly StateTensor[]): StoredState {
  const data = { sha256: '', samplesSeen: resumedStep * train.globalBatchSize };
  const zeros = new Uint8Array(stateChunkBytes);
  return {
    trainer: { step: resumedStep, seed: train.seed, data, valLoss: null, config: {} },
    async *stream(part: StatePart, inOrder: readonly string[]) {
      const own = tensorsOf(part === 'weights' ? 'model' : part, tensors).filter(({ name }) => inOrder.includes(name));
      let left = 4 * own.reduce((sum, tensor) => sum + elementsOf(tensor), 0);
      for (; left > 0; left -= zeros.byteLength) yield zeros.subarray(0, Math.min(left, zeros.byteLength));
    },
  };
}

/** A link that counts what is sent. */
function counted(server: ControlServer, onSend: (bytes: number) => void): ControlServer {
  return {
    get address() {
      return server.address;
    },
    get dropped() {
      return server.dropped;
    },
    send(peer, message, payload) {
      onSend(message.byteLength + (payload?.byteLength ?? 0));
      server.send(peer, message, payload);
    },
    onMessage: (listener) => server.onMessage(listener),
    onPeerGone: (listener) => server.onPeerGone(listener),
    close: () => server.close(),
  };
}
