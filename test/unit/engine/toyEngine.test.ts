/** A new engine is its folder and a line in the table of engines: it can be named, and a worker trains on it. */
import { expect, it, vi } from 'vitest';
import { decodeWorkerMessage, encodeMessage } from '../../../src/comm/protocol.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { createEngine, selectEngine } from '../../../src/engine/registry.ts';
import { tryEngine } from '../../../src/engine/trial.ts';
import { InProcessReplica } from '../../engines/inProcessReplica.ts';
import { testEngines } from '../../engines/testEngines.ts';
import { Float64Engine } from '../../parity/model/float64Engine.ts';

const { engine, ...rest } = configSchema.parse({
  model: { blockSize: 8, nLayer: 1, nHead: 2, nEmbd: 8 },
  train: { globalBatchSize: 2, microBatchSize: 1 },
});

/** Sums and the norm of a worker's first step. */
async function firstStep(name: string) {
  const replica = new InProcessReplica(testEngines);
  const config = { ...rest, engine: { ...engine, name: name as 'auto' } };
  const shared = { vocabSize: 16, objective: 'next-token', threads: 1, localIndex: 0, trace: false };
  const built = await replica.build({ config, ...shared });
  const shape = [8];
  const data = Int32Array.from({ length: 16 }, (_, i) => (7 * i) % 16);
  const batch = { sampleCount: 2, arrays: { tokens: { data, shape }, targets: { data, shape } } };
  const ready: number[] = [];
  const sums = await replica.step(
    { step: 1, sampleFrom: 0, batch, globalWeight: 16, worldSize: 2, trace: false },
    (bucket) => ready.push(bucket),
  );
  await vi.waitFor(() => expect(ready).toHaveLength(built.buckets.length));
  for (const bucket of ready) replica.reduced(bucket);
  const norm = await replica.gradNorm();
  await replica.close();
  return { engine: built.engineId, loss: sums['loss']!, norm };
}

it('is found by its name, starts and computes', async () => {
  expect(await selectEngine({ name: 'toy' }, testEngines)).toMatchObject({ name: 'toy', deviceKind: 'none' });
  await expect(selectEngine({ name: 'toy', deviceKind: 'wasm' }, testEngines)).rejects.toThrow(
    'set engine.name to tfjs',
  );
  const toy = await createEngine({ name: 'toy' }, testEngines);
  expect(toy.name).toBe('float64');
  expect((await tryEngine(toy)).correct).toBe(true);
});

it('trains in a worker as native does', async () => {
  const [toy, native] = [await firstStep('toy'), await firstStep('native')];
  expect(toy.engine).toEqual({ engine: 'float64', deviceKind: 'none', unit: 'none', precision: 'float32' });
  expect(toy.loss / native.loss).toBeCloseTo(1, 5);
  expect(toy.norm / native.norm).toBeCloseTo(1, 5);
});

it('may have the longest names: a worker on it says what the coordinator takes, and tells them apart', async () => {
  const idOf = async (unit: string) => {
    const start = async () => Object.assign(new Float64Engine(), { unit, description: unit.repeat(50) });
    const replica = new InProcessReplica({ native: { ...testEngines.toy, start } });
    const shared = { vocabSize: 16, objective: 'next-token', threads: 1, localIndex: 0, trace: false };
    const built = await replica.build({ config: { ...rest, engine: { ...engine, name: 'native' } }, ...shared });
    await replica.close();
    const { engineId, engine: text, tensors } = built;
    const message = { type: 'prepared', engine: text, engineId, tensors } as const;
    expect(decodeWorkerMessage(encodeMessage(message))).toEqual(message);
    return engineId.unit;
  };
  const long = 'x'.repeat(200);
  expect(await idOf(long)).not.toBe(await idOf(`${long}y`));
  expect(await idOf('')).not.toBe('');
  expect(await idOf('NVIDIA H100')).toBe('NVIDIA H100');
});
