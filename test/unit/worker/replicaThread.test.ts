import { afterEach, beforeEach, expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import type { StepTask } from '../../../src/worker/replicaProtocol.ts';
import { ReplicaThread } from '../../../src/worker/replicaThread.ts';

let replica: ReplicaThread;
beforeEach(() => {
  replica = new ReplicaThread({ url: new URL('./echoThread.js', import.meta.url) });
});
afterEach(() => replica.close());

it('the compute thread takes a reduced bucket back while it has no task', async () => {
  const config = configSchema.parse({});
  await replica.build({ config, vocabSize: 64, objective: 'next-token', threads: 1, localIndex: 0, trace: false });
  let takenBack: (bucket: number) => void = () => undefined;
  const task = { step: 1, sampleFrom: 0, batch: { sampleCount: 0, arrays: {} }, globalWeight: 1, trace: false };
  await replica.step(task satisfies Omit<StepTask, 'attempt'>, (bucket) => takenBack(bucket));
  for (const bucket of [2, 0, 1]) {
    const answer = new Promise<number>((resolve) => {
      takenBack = resolve;
    });
    replica.reduced(bucket);
    // No further task is asked for: a thread that waits for one answers never.
    expect(await answer).toBe(bucket);
  }
});
