/** Stands for a reward thread, and answers as the test says. */
import { EventEmitter } from 'node:events';
import type { RewardRequest } from '../../../src/run/rewardTasks.ts';

/** What a thread does with a request: it gives the reward, or does nothing. */
type Answering = (thread: FakeRewardThread, request: RewardRequest) => number | undefined;

export class FakeRewardThread extends EventEmitter {
  static newest: FakeRewardThread | undefined;
  static answering: Answering = () => undefined;
  readonly source: unknown;
  isEnded = false;

  constructor(source: unknown) {
    super();
    this.source = source;
    FakeRewardThread.newest = this;
    queueMicrotask(() => this.emit('message', { id: 0, outcome: { ok: true, value: [] } }));
  }

  /** As a thread that has ended, it ignores what comes later. */
  postMessage(request: RewardRequest): void {
    const reward = this.isEnded ? undefined : FakeRewardThread.answering(this, request);
    if (reward !== undefined) this.emit('message', { id: request.id, outcome: { ok: true, value: [reward] } });
  }

  end(): void {
    this.isEnded = true;
    this.emit('exit', 1);
  }

  async terminate(): Promise<void> {
    this.end();
  }
}
