/**
 * A run on a device with its own memory, whose kernels and copies end long after they were asked for, gives the bits of a run in the
 * host's memory: losses, norms and the state of the checkpoint, through the real coordinator, agents and ring.
 */
import { expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import type { EngineEntry } from '../../../src/engine/engineEntry.ts';
import { runInMemory } from '../../engines/runInMemory.ts';
import { testEngines } from '../../engines/testEngines.ts';

const config = configSchema.parse({
  model: { blockSize: 16, nLayer: 2, nHead: 2, nEmbd: 16, dropout: 0.1 },
  train: { globalBatchSize: 8, microBatchSize: 2, maxSteps: 4, workers: 2, hashEverySteps: 1 },
  eval: { everySteps: 2 },
  sample: { maxTokens: 0 },
  engine: { name: 'native', threads: 1 },
  comm: { bucketBytesMax: 4096, chunkBytes: 1024 },
});

it('gives the bits of the same run in the memory of the host', async () => {
  const { results } = await runInMemory(config, { native: testEngines.native });
  const other = await runInMemory(config, { native: testEngines.timed });
  expect(other.engines).toEqual([expect.stringMatching(/^timed \(native/), expect.stringMatching(/^timed \(native/)]);
  expect(results.steps).toHaveLength(config.train.maxSteps);
  expect(results.validation.every((loss) => loss > 1)).toBe(true);
  expect(other.results).toEqual(results);
}, 60_000);

it('continues while a checkpoint is copied from the device, and writes the state that it had', async () => {
  const checkpointed = {
    ...config,
    checkpoint: { ...config.checkpoint, everySteps: 2 },
  };
  let arrive = (): void => undefined;
  const arrived = new Promise<void>((done) => {
    arrive = done;
  });
  const slowCopy: EngineEntry = {
    ...testEngines.timed,
    start: async (options) => {
      const engine = await testEngines.timed.start(options);
      const snapshot: Engine['snapshot'] = async (groups, into) => {
        await engine.snapshot(groups, into);
        await arrived;
      };
      return new Proxy(engine, {
        get: (target, key) => (key === 'snapshot' ? snapshot : (Reflect.get(target, key) as unknown)),
      });
    },
  };
  // The copy after the second step arrives when the third is done: a run that waits for it comes to no end.
  const slow = await runInMemory(
    checkpointed,
    { native: slowCopy },
    {
      onStep: (step) => {
        if (step === 3) arrive();
      },
    },
  );
  const quick = await runInMemory(checkpointed, { native: testEngines.native });
  expect(slow.results.steps).toEqual(quick.results.steps);
  expect([...slow.results.checkpoints.keys()]).toEqual([2, 4]);
  expect(slow.results.checkpoints.get(2)).toBe(quick.results.checkpoints.get(2));
  expect(slow.results.checkpoints.get(4)).toBe(quick.results.checkpoints.get(4));
}, 60_000);

it('copies no gradients on a worker without others', async () => {
  const alone = { ...config, train: { ...config.train, workers: 1 } };
  const copies: string[] = [];
  const watched: EngineEntry = {
    ...testEngines.timed,
    start: async (options) =>
      new Proxy(await testEngines.timed.start(options), {
        get: (target, key) => {
          if (key === 'copyOut' || key === 'copyIn') copies.push(key);
          return Reflect.get(target, key) as unknown;
        },
      }),
  };
  const { results } = await runInMemory(alone, { native: watched });
  expect(copies).toEqual([]);
  expect(results).toEqual((await runInMemory(alone, { native: testEngines.native })).results);
  await runInMemory(config, { native: watched });
  expect(new Set(copies)).toEqual(new Set(['copyOut', 'copyIn']));
}, 60_000);

it('updates by Muon on every replica alike, and writes a state without second moments of matrices', async () => {
  const muon = {
    ...config,
    optimizer: { ...config.optimizer, kind: 'muon' as const, ema: 0.5 },
    checkpoint: { ...config.checkpoint, everySteps: 2 },
  };
  const { results } = await runInMemory(muon, { native: testEngines.native });
  expect(results.steps).toHaveLength(config.train.maxSteps);
  expect(results).toEqual((await runInMemory(muon, { native: testEngines.timed })).results);
  expect(results).not.toEqual((await runInMemory(config, { native: testEngines.native })).results);
}, 60_000);
