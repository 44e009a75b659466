/** Which device of its machine a worker computes on, from the config and the program that starts it to the engine. */
import { expect, it, vi } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import { forkWorkers, type WorkerExit } from '../../../src/worker/spawn.ts';
import { runInMemory } from '../../engines/runInMemory.ts';
import { testEngines } from '../../engines/testEngines.ts';

/** What the workers of a run compute on, where the machine has two devices. */
async function devicesOf(
  workers: number,
  device?: number,
  survivors?: readonly string[],
): Promise<(string | undefined)[]> {
  const config = configSchema.parse({
    model: { blockSize: 8, nLayer: 1, nHead: 1, nEmbd: 4, dropout: 0 },
    train: { globalBatchSize: workers, microBatchSize: 1, maxSteps: 1, workers },
    eval: { everySteps: 0 },
    engine: { name: 'native', device },
  });
  const { engines } = await runInMemory(config, { native: testEngines.twoDevices }, { survivors });
  return engines.map((text) => text?.match(/device \d/)?.[0]);
}

it('each worker of a machine takes a device of its own', async () => {
  expect(await devicesOf(2)).toEqual(['device 0', 'device 1']);
});

it('a worker that is started beside one of a program before takes no device that is taken', async () => {
  expect(await devicesOf(2, undefined, ['local-0'])).toEqual(['device 0', 'device 1']);
});

it('engine.device is that of all workers', async () => {
  expect(await devicesOf(2, 1)).toEqual(['device 1', 'device 1']);
});

it('more workers than devices share them in turn', async () => {
  expect(await devicesOf(3)).toEqual(['device 0', 'device 1', 'device 0']);
});

it('a device that is not there is refused', async () => {
  await expect(devicesOf(1, 2)).rejects.toThrow(/device 2 was requested, .* finds 2 here/);
});

it('a process has its place of the machine, whichever others are started, and when it is started again', async () => {
  const said: string[] = [];
  const exits: WorkerExit[] = [];
  for (const name of ['AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'LOCKSTEP_RUN_KEY']) vi.stubEnv(name, 'secret');
  const workers = forkWorkers(
    {
      coordinatorAddress: 'tcp://127.0.0.1:1',
      localWorkers: ['a', 'b', 'c'],
      cores: 1,
      flightFolder: 'none',
      onExit: (exit) => void exits.push(exit),
      onOutput: (line) => void said.push(line),
    },
    { url: new URL('./tellPlace.js', import.meta.url), arguments: [] },
  );
  try {
    for (const worker of ['b', 'c']) workers.start(worker);
    await vi.waitFor(() => expect(said.toSorted()).toEqual(['b 1', 'c 2']), 10_000);
    workers.kill('c');
    await vi.waitFor(() => expect(exits.map(({ worker }) => worker)).toEqual(['c']), 10_000);
    workers.start('c');
    await vi.waitFor(() => expect(said.toSorted()).toEqual(['b 1', 'c 2', 'c 2']), 10_000);
    expect(() => workers.start('d')).toThrow('d is not one of the workers of this machine: a, b, c');
  } finally {
    vi.unstubAllEnvs();
    await workers.stop(0);
  }
}, 30_000);
