/** A replica on the thread of its agent, with engines of a test: all of a worker but its compute thread. */
import { MessageChannel } from 'node:worker_threads';
import type { EngineTable } from '../../src/engine/registry.ts';
import type { StepTask } from '../../src/worker/replicaProtocol.ts';
import { ReplicaTasks } from '../../src/worker/replicaTasks.ts';
import type { Replica } from '../../src/worker/replicaThread.ts';

export class InProcessReplica extends ReplicaTasks implements Replica {
  readonly #channel = new MessageChannel();
  readonly #wanted = new Int32Array(2);
  #isInPlace = true;
  #onBucketReady: (bucket: number) => void = () => undefined;

  constructor(table: EngineTable) {
    super(table);
    this.#channel.port1.on('message', ([attempt, bucket]: [number, number]) => {
      if (attempt === this.#wanted[0]) this.#onBucketReady(bucket);
    });
  }

  override async build(task: Parameters<Replica['build']>[0]) {
    const result = await super.build({ ...task, gradientPort: this.#channel.port2, wanted: this.#wanted });
    this.#isInPlace = result.isInPlace;
    return result;
  }

  override step(task: Omit<StepTask, 'attempt'>, onBucketReady: (bucket: number) => void = () => undefined) {
    this.#onBucketReady = onBucketReady;
    this.#wanted[0]!++;
    return super.step({ ...task, attempt: this.#wanted[0]! });
  }

  reduced(bucket: number): void {
    if (!this.#isInPlace) this.#channel.port1.postMessage([this.#wanted[0], bucket]);
  }

  giveUp(): void {
    this.#wanted[0]!++;
  }

  async close(): Promise<void> {
    await this.dispose();
    this.#channel.port1.close();
  }
}
