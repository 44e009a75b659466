/** What stands for the compute thread: tasks one after the other, each of which takes virtual time. */
import type { Batch } from '../../src/base/batch.ts';
import { noSums, type Sums } from '../../src/base/sums.ts';
import type { Span } from '../../src/comm/spans.ts';
import { asTokenBatch } from '../../src/task/nextToken.ts';
import { promptsOf, rolloutBatch } from '../../src/task/rolloutBatch.ts';
import { GradientExchange } from '../../src/worker/gradientExchange.ts';
import type { StateTask } from '../../src/worker/replicaProtocol.ts';
import type { Replica } from '../../src/worker/replicaThread.ts';
import {
  bucketPlan,
  buckets,
  copy,
  dense,
  gradientOfShare,
  hashOf,
  isEqual,
  newBlocks,
  type Reference,
  stateBlocks,
  tensors,
  update,
} from './reference.ts';
import { SimDevice } from './simDevice.ts';
import { rolloutLimits, simulatedRollouts } from './simRollouts.ts';
import type { SimProcess } from './world.ts';

export interface SimReplicaOptions {
  readonly process: SimProcess;
  readonly reference: Reference;
  /** Whether the state can be read where it lies, as on a CPU. */
  readonly isShared: boolean;
  /** Whether it is of the ring now: what others do has no effect on the run. */
  readonly isMember: () => boolean;
  /** Told of every update, after it. */
  readonly onApplied: (step: number) => void;
  /** Told of the samples of every step, before it. */
  readonly onStep?: (step: number, sampleFrom: number, batch: Batch) => void;
}

export class SimReplica implements Replica {
  readonly #options: SimReplicaOptions;
  readonly blocks = newBlocks();
  readonly device: SimDevice;
  readonly #exchange: GradientExchange;
  #attempt = 0;
  #onBucketReady: (bucket: number) => void = () => undefined;
  #tasks: Promise<unknown> = Promise.resolve();
  /** Messages between the agent's thread and this one, both ways in order. */
  readonly #ports = { toAgent: Promise.resolve(), toReplica: Promise.resolve() };

  constructor(options: SimReplicaOptions) {
    this.#options = options;
    this.device = new SimDevice(options.isShared, (ms) => this.#takes(ms));
    this.#exchange = new GradientExchange({
      engine: this.device.engine,
      group: this.device.group,
      plan: bucketPlan,
      onReady: (attempt, bucket) =>
        this.#post('toAgent', () => {
          if (attempt === this.#attempt) this.#onBucketReady(bucket);
        }),
    });
  }

  build() {
    return this.#task(20, () => ({
      engine: 'simulated',
      engineId: { engine: 'simulated', deviceKind: 'none', unit: 'none', precision: 'float32' },
      tensors,
      gradients: this.#exchange.shared,
      buckets,
      blocks: stateBlocks,
      isInPlace: this.device.isHost,
      ...(this.#options.isShared && { state: this.blocks }),
    }));
  }

  step(
    { step, sampleFrom, batch, worldSize }: Parameters<Replica['step']>[0],
    onBucketReady: (bucket: number) => void,
  ) {
    const { sampleCount } = batch;
    this.#options.onStep?.(step, sampleFrom, batch);
    const attempt = ++this.#attempt;
    this.#onBucketReady = onBucketReady;
    const { gradients } = this.device;
    return this.#after(async () => {
      await this.#exchange.begin(attempt, { worldSize });
      gradients.fill(0);
      await this.#takes(2 * sampleCount);
      for (const [index, { start, end }] of buckets.entries()) {
        await this.#takes(2);
        if (attempt !== this.#attempt) return noSums;
        for (let at = start; at < end; at++) {
          gradients[at] = gradientOfShare(step, { sampleFrom, sampleCount }, at);
        }
        this.#exchange.ready(index);
      }
      await this.#takes(1);
      await this.#exchange.flush();
      return { weight: sampleCount, loss: sampleCount };
    });
  }

  reduced(bucket: number): void {
    const attempt = this.#attempt;
    if (!this.device.isHost) this.#post('toReplica', () => this.#exchange.takeBack(attempt, bucket));
  }

  giveUp(): void {
    this.#attempt++;
  }

  gradNorm() {
    // As on machines of several instruction sets: the sum of the squares differs in its last bits.
    const { pid } = this.#options.process;
    const { device } = this;
    return this.#after(async () => {
      await this.#exchange.whenBack();
      await device.finish();
      await this.#takes(0.5);
      return Math.sqrt(device.gradients.reduce((sum, g) => sum + g * g, 0)) + pid / 2 ** 32;
    });
  }

  apply({ step, gradNorm }: { step: number; gradNorm: number }) {
    return this.#task(3, () => {
      const { process, reference, isMember, onApplied } = this.#options;
      if (isMember() && !reference.isState(step - 1, dense(this.blocks))) {
        process.world.wrong(`${process.name} applies step ${step} to a state that is not that of step ${step - 1}`);
      }
      if (isMember() && !isEqual(reference.gradients[step], this.device.gradients)) {
        process.world.wrong(`${process.name} applies step ${step} with other gradients than the sum over the batch`);
      }
      if (isMember() && reference.norms[step] !== gradNorm) {
        process.world.wrong(`${process.name} clips step ${step} by ${gradNorm}, not by ${reference.norms[step]}`);
      }
      update(this.blocks, this.device.gradients, step);
      onApplied(step);
    });
  }

  evaluate({ batch }: Parameters<Replica['evaluate']>[0]) {
    return this.#task(5, () => simulatedLoss(batch));
  }

  async referenceHash() {
    return undefined;
  }

  takeReference() {
    return this.#task(1, () => undefined);
  }

  /** A function of the state and the prompts, which takes a while for each. */
  rollOut({ iteration, prompts, endToken }: Parameters<Replica['rollOut']>[0]) {
    return this.#task(15 * prompts.sampleCount, () =>
      rolloutBatch(
        simulatedRollouts(hashOf(dense(this.blocks)), promptsOf(prompts, rolloutLimits), iteration, endToken),
      ),
    );
  }

  takeSpans() {
    return this.#task(0, (): Span[] => []);
  }

  exportState({ state }: StateTask) {
    const taken = this.#task(1, () => this.blocks.map((block) => block.slice()));
    const { process } = this.#options;
    // Beside the tasks that follow. No draw of the seed's: what else happens in it stays as it was.
    return taken.then(async (blocks) => {
      await new Promise<void>((resolve) => void process.after(20 * process.slowness, resolve));
      copy(blocks, state);
    });
  }

  importState({ state }: StateTask) {
    return this.#task(1, () => copy(state, this.blocks));
  }

  parameterHash() {
    return this.#task(1, () => hashOf(dense(this.blocks.slice(0, 2))));
  }

  stateHash() {
    return this.#task(1, () => hashOf(dense(this.blocks)));
  }

  async close(): Promise<void> {
    this.giveUp();
  }

  #post(port: 'toAgent' | 'toReplica', deliver: () => void): void {
    this.#ports[port] = this.#ports[port].then(() => this.#takes(0.2)).then(deliver);
  }

  #task<T>(ms: number, work: () => T): Promise<T> {
    return this.#after(async () => {
      await this.#takes(ms);
      return work();
    });
  }

  #after<T>(work: () => Promise<T>): Promise<T> {
    const task = this.#tasks.then(work);
    this.#tasks = task.catch(() => undefined);
    return task;
  }

  #takes(ms: number): Promise<void> {
    const { process } = this.#options;
    const { random } = process.world;
    return new Promise((resolve) => void process.after(ms * random.between(0.5, 2) * process.slowness, resolve));
  }
}

/** Stands for the loss of validation windows: another one if a window is left out or comes twice. */
export function simulatedLoss(batch: Batch): Sums {
  const { tokens, targets } = asTokenBatch(batch).arrays;
  let loss = 0;
  for (const [i, token] of tokens.data.entries()) loss += 8 * token + (targets.data[i] ?? 0) + 1;
  return { weight: targets.data.length, loss };
}
