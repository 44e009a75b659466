/**
 * A pretended worker for `npm run bench -- protocol --pretend`: it says all that a worker says to its coordinator, and computes nothing. It has no
 * ring: it reports gradients as reduced when it is told to, as all ranks of a real ring do at almost the same time. Messages are not validated here,
 * so that a thousand workers leave the cores to the coordinator.
 */
import { unpack } from 'msgpackr';
import { PeerError } from '../../../src/base/errors.ts';
import type { StateTensor } from '../../../src/base/stateParts.ts';
import { version } from '../../../src/base/version.ts';
import type { CoordinatorMessage, CoordinatorMessageOf } from '../../../src/comm/coordinatorMessages.ts';
import type { ControlClient, Transport } from '../../../src/comm/link.ts';
import { encodeMessage, protocolVersion, stateChunkBytes } from '../../../src/comm/protocol.ts';
import type { WorkerMessage } from '../../../src/comm/workerMessages.ts';
import { monotonicMs } from './monotonic.ts';

export interface PretendWorkerOptions {
  readonly transport: Transport;
  readonly address: string;
  /** The worker's name, unique in the run. */
  readonly name: string;
  readonly host: string;
  readonly token: string | undefined;
  readonly tensors: readonly StateTensor[];
  /** Size of the state that `form` may ask it to receive. */
  readonly stateBytes: number;
  /** It said that the gradients of a step are reduced. */
  readonly onReduced: (step: number, atMs: number) => void;
  /** The commit of a step has arrived. */
  readonly onCommit: (step: number, atMs: number) => void;
  readonly onFailed: (error: Error) => void;
}

/** Stands for every hash: all pretended replicas are equal. */
const hash = '0'.repeat(64);
const timings = { dataWaitMs: 0.1, forwardBackwardMs: 100, ringWaitMs: 5, commitWaitMs: 1, optimizerMs: 10 };

export class PretendWorker {
  readonly #options: PretendWorkerOptions;
  readonly #client: ControlClient;
  readonly #assigned = new Map<number, CoordinatorMessageOf<'assign'>>();
  #term = 0;
  #step = 0;
  /** The newest step that may begin, and the one whose gradients it reports as soon as it can. */
  #begun = 0;
  #wanted = 0;
  #receivedBytes = 0;
  #beat: NodeJS.Timeout | undefined;
  #form: CoordinatorMessageOf<'form'> | undefined;

  private constructor(options: PretendWorkerOptions, client: ControlClient) {
    this.#options = options;
    this.#client = client;
    client.onMessage((frame, payload) => this.#receive(frame, payload));
    client.onServerGone((reason) => options.onFailed(new PeerError(`lost the coordinator: ${reason}`)));
  }

  static async join(options: PretendWorkerOptions): Promise<PretendWorker> {
    const { transport, address, name, host, token } = options;
    const worker = new PretendWorker(options, await transport.connect(address, `${name}.${process.pid}.1`));
    const who = { host, pid: process.pid, worker: name, ringAddress: `pretended://${name}` };
    worker.#send({ type: 'join', protocolVersion, version, ...who, ...(token !== undefined && { token }) });
    return worker;
  }

  /** Reports the gradients of `step` as reduced, as soon as its samples are here and it may begin. */
  reduce(step: number): void {
    this.#wanted = step;
    this.#reduceWanted();
  }

  /** Sends a heartbeat at this interval from now on, the first one after `delayMs`. */
  beat(intervalMs: number, delayMs: number): void {
    clearTimeout(this.#beat);
    const pulse = (): void => {
      this.#send({ type: 'heartbeat', step: this.#step, phase: 'forward and backward', ringFrames: 0 });
    };
    this.#beat = setTimeout(() => {
      pulse();
      this.#beat = setInterval(pulse, intervalMs);
    }, delayMs);
  }

  #receive(frame: Uint8Array, payload: Uint8Array | undefined): void {
    const atMs = monotonicMs();
    const message = unpack(frame) as CoordinatorMessage;
    if (message.type === 'commit') this.#committed(message, atMs);
    else if (message.type === 'assign') {
      this.#assigned.set(message.step, message);
      this.#reduceWanted();
    } else if (message.type === 'proceed') this.#mayBegin(message.step + 1);
    else if (message.type === 'welcome') this.#prepared();
    else if (message.type === 'form') this.#formed(message);
    else if (message.type === 'stateChunk') this.#stored(message, payload);
    else if (message.type === 'refused' || message.type === 'fenced' || message.type === 'stop') {
      this.#options.onFailed(new PeerError(`a pretended worker was told "${message.type}": ${message.reason}`));
    }
  }

  #prepared(): void {
    const engineId = { engine: 'pretended', deviceKind: 'none', unit: 'none', precision: 'float32' };
    this.#send({ type: 'prepared', engine: 'pretended', engineId, tensors: this.#options.tensors });
  }

  #formed(form: CoordinatorMessageOf<'form'>): void {
    this.#form = form;
    this.#term = form.term;
    this.#step = form.step;
    this.#assigned.clear();
    this.#receivedBytes = 0;
    if (form.state === 'follow') this.#acknowledgeAll(form);
    if (form.state !== 'receive') this.#ready(form);
  }

  /** In place of a ring: the reports of a worker to the coordinator while it receives the state from the previous rank. */
  #acknowledgeAll({ term, step }: CoordinatorMessageOf<'form'>): void {
    const { stateBytes } = this.#options;
    for (let at = 0; at < stateBytes; at += stateChunkBytes) {
      const offset = Math.min(stateBytes, at + stateChunkBytes);
      this.#send({ type: 'stateAck', purpose: 'transfer', term, step, offset });
    }
  }

  #ready({ term, step, verify }: CoordinatorMessageOf<'form'>): void {
    this.#send({ type: 'ready', term, step, ...(verify && { stateHash: hash }) });
  }

  #stored({ purpose, term, step }: CoordinatorMessageOf<'stateChunk'>, payload: Uint8Array | undefined): void {
    if (this.#form === undefined || term !== this.#term) return;
    this.#receivedBytes += payload?.byteLength ?? 0;
    this.#send({ type: 'stateAck', purpose, term, step, offset: this.#receivedBytes });
    if (this.#receivedBytes === this.#options.stateBytes) this.#ready(this.#form);
  }

  #committed({ term, step, hash: isHashed, hold }: CoordinatorMessageOf<'commit'>, atMs: number): void {
    this.#step = step;
    this.#assigned.delete(step);
    const parameterHash = isHashed && { parameterHash: hash };
    this.#send({ type: 'applied', term, step, timings, ringBytesSent: 1_000_000, ...parameterHash });
    this.#options.onCommit(step, atMs);
    if (!hold) this.#mayBegin(step + 1);
  }

  #mayBegin(step: number): void {
    this.#begun = step;
    this.#reduceWanted();
  }

  #reduceWanted(): void {
    const step = this.#wanted;
    const assigned = this.#assigned.get(step);
    if (assigned === undefined || this.#begun < step || step <= this.#step) return;
    this.#wanted = 0;
    const { sampleFrom, sampleCount, globalWeight } = assigned;
    const sums = { weight: sampleCount, loss: sampleCount * Math.log(globalWeight + 1) };
    this.#send({ type: 'phase', step, phase: 'all-reduce' });
    this.#send({ type: 'reduced', term: this.#term, step, sampleFrom, sampleCount, sums, gradNorm: 1 });
    this.#options.onReduced(step, monotonicMs());
  }

  #send(message: WorkerMessage): void {
    this.#client.send(encodeMessage(message));
  }
}
