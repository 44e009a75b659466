/** Which device of its machine a worker computes on, from the config and the program that starts it to the engine. */
import { expect, it, vi } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import { forkWorkers, type WorkerExit } from '../../../src/worker/spawn.ts';
import { runInMemory } from '../../engines/runInMemory.ts';
import { testEngines } from '../../engines/testEngines.ts';

/** What the workers of a run compute on, where the machine has two devices. */
async function devicesOf(workers: number, device?: number): Promise<(string | undefined)[]> {
  const config = configSchema.parse({
    model: { blockSize: 8, nLayer: 1, nHead: 1, nEmbd: 4, dropout: 0 },
    train: { globalBatchSize: workers, microBatchSize: 1, maxSteps: 1, workers },
    eval: { everySteps: 0 },
    engine: { name: 'native', device },
  });
  const { engines } = await runInMemory(config, { native: testEngines.twoDevices });
  return engines.map((text) => text?.match(/device \d/)?.[0]);
}

it('each worker of a machine takes a device of its own', async () => {
  expect(await devicesOf(2)).toEqual(['device 0', 'device 1']);
});

it('engine.device is that of all workers', async () => {
  expect(await devicesOf(2, 1)).toEqual(['device 1', 'device 1']);
});

it('more workers than devices are refused, unless they are to share one', async () => {
  await expect(devicesOf(3)).rejects.toThrow(/worker 2 of this machine takes device 2, .* finds 2 here/);
  await expect(devicesOf(1, 2)).rejects.toThrow(/device 2 was asked for, .* finds 2 here/);
});

it('a process that is started for another takes the place that it left', async () => {
  const said: string[] = [];
  const exits: WorkerExit[] = [];
  const workers = forkWorkers(
    {
      coordinatorAddress: 'tcp://127.0.0.1:1',
      workersOnHost: 3,
      cores: 1,
      flightFolder: 'none',
      onExit: (exit) => void exits.push(exit),
      onOutput: (line) => void said.push(line),
    },
    { url: new URL('./tellPlace.js', import.meta.url), arguments: [] },
  );
  try {
    for (const worker of ['a', 'b', 'c']) workers.start(worker);
    await vi.waitFor(() => expect(said.toSorted()).toEqual(['a 0', 'b 1', 'c 2']), 10_000);
    workers.kill('b');
    await vi.waitFor(() => expect(exits.map(({ worker }) => worker)).toEqual(['b']), 10_000);
    workers.start('d');
    await vi.waitFor(() => expect(said.at(-1)).toBe('d 1'), 10_000);
  } finally {
    await workers.stop(0);
  }
}, 30_000);
