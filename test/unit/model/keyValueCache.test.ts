/** Caches of keys and values: their memory follows the sequence, and their size changes no result. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ModelConfig } from '../../../src/architecture/registry.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { DecodeBatch } from '../../../src/model/decodeBatch.ts';
import { KeyValueCache } from '../../../src/model/keyValueCache.ts';
import { Model } from '../../../src/model/model.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../src/model/parameterStore.ts';
import { Tape } from '../../../src/model/tape.ts';
import { tinyLlama } from '../../parity/model/tinyModels.ts';

/** Numbers of a row of keys: 2 of 4 heads. */
const width = tinyLlama.nEmbd / 2;
const sampling = { temperature: 1, topK: 0, topP: 1, seed: 1 };

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ name: 'native', threads: 1 });
});
afterAll(() => engine.dispose());

function modelOf(blockSize: number): Model {
  const config: ModelConfig = { ...tinyLlama, blockSize };
  const parameters = new Parameters(engine, parameterSpecs(config), { training: false });
  parameters.initialise(4);
  return new Model(engine, config, parameters);
}

it('takes memory for the tokens of a sequence, not for the longest context', async () => {
  const model = modelOf(131_072);
  const batch = new DecodeBatch(engine, model);
  batch.add({ ...sampling, prompt: [1, 2, 3] });
  await batch.step(); // and the table of rotary positions, which stays
  const before = engine.memory().bytesInUse;
  batch.release();
  const bytesOfCache = before - engine.memory().bytesInUse;
  expect(bytesOfCache).toBeGreaterThan(0);
  expect(bytesOfCache).toBeLessThanOrEqual(2 * tinyLlama.nLayer * 256 * width * 4);
});

it('takes the memory that --dry-run plans, whatever the length of the prompt', () => {
  const bytesOf = (lengths: readonly number[]): number => {
    const cache = new KeyValueCache(engine, 131_072);
    const before = engine.memory().bytesInUse;
    for (const rows of lengths) cache.layer(0, width, rows);
    const bytes = engine.memory().bytesInUse - before;
    cache.release();
    return bytes;
  };
  expect(bytesOf([1, 257, 513, 1024])).toBe(2 * 1024 * width * 4);
  expect(bytesOf([511, 600, 1023, 1024])).toBe(2 * 1024 * width * 4);
});

it('gives the bits of a cache that had its final size from the start', async () => {
  const model = modelOf(1000);
  const tape = new Tape(engine);
  const logitsOf = async (cache: KeyValueCache, tokens: number[], position: number): Promise<Float32Array> => {
    const logits = new Float32Array(tinyLlama.vocabSize);
    const inputs = tape.upload(Int32Array.from(tokens), [1, tokens.length]);
    await engine.download(model.decode(tape, inputs, { cache, position }).value, logits);
    tape.discard();
    return logits;
  };
  const [grown, full] = [model.newCache(), model.newCache()];
  await logitsOf(grown, [1], 0); // the table of rotary positions stays
  grown.release();
  const idle = engine.memory().bytesInUse;
  for (let layer = 0; layer < tinyLlama.nLayer; layer++) full.layer(layer, width, 1000);
  const chunks = [250, 1, 4, 1, 1, 200, 54, 1, 1, 400, 87]; // 256, 512 and 1000 rows
  let position = 0;
  for (const size of chunks) {
    const tokens = Array.from({ length: size }, (_, i) => (7 * (position + i) + (i % 5)) % tinyLlama.vocabSize);
    expect(await logitsOf(grown, tokens, position)).toEqual(await logitsOf(full, tokens, position));
    position += size;
  }
  expect(position).toBe(1000);
  for (const cache of [grown, full]) cache.release();
  expect(engine.memory().bytesInUse).toBe(idle);
});
