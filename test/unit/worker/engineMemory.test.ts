/**
 * A run on a device with its own memory, whose kernels and copies end long after they were asked for, gives the bits of a run in the
 * host's memory: losses, norms and the state of the checkpoint, through the real coordinator, agents and ring.
 */
import { expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
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
