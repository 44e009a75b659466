import { afterEach, beforeEach, expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import type { StepTask } from '../../../src/worker/replicaProtocol.ts';
import { ReplicaThread } from '../../../src/worker/replicaThread.ts';

const task: Omit<StepTask, 'attempt'> = {
  step: 1,
  sampleFrom: 0,
  batch: { sampleCount: 0, arrays: {} },
  globalWeight: 1,
  worldSize: 2,
  trace: false,
};

let replica: ReplicaThread;
beforeEach(() => {
  replica = new ReplicaThread({ url: new URL('./echoThread.js', import.meta.url) });
});
afterEach(() => replica.close());

it('the compute thread takes a reduced bucket back while it has no task', async () => {
  const config = configSchema.parse({});
  await replica.build({ config, vocabSize: 64, objective: 'next-token', threads: 1, localIndex: 0, trace: false });
  let takenBack: (bucket: number) => void = () => undefined;
  await replica.step(task, (bucket) => takenBack(bucket));
  for (const bucket of [2, 0, 1]) {
    const answer = new Promise<number>((resolve) => {
      takenBack = resolve;
    });
    replica.reduced(bucket);
    // No further task is asked for: a thread that waits for one answers never.
    expect(await answer).toBe(bucket);
  }
});

it('a step is computed beside a copy of the state that was asked for before it', async () => {
  const exported = replica.exportState({ state: [] });
  await replica.step(task, () => undefined); // before it the copy does not arrive
  await exported;
});

it('a copy of the state that a thread owes when it ends is an error', async () => {
  const exported = replica.exportState({ state: [] });
  await replica.gradNorm(); // the copy is ordered
  const isLost = expect(exported).rejects.toThrow('the compute thread has ended');
  await replica.close();
  await isLost;
});
