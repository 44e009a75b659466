/** A packed run uses each example exactly once per epoch, and its losses are those of the examples by themselves. */
import { expect, it } from 'vitest';
import type { Batch } from '../../../../src/base/batch.ts';
import { configSchema } from '../../../../src/config/schema.ts';
import { exampleRunData } from '../../../../src/data/examples/exampleRunData.ts';
import type { ExampleSet } from '../../../../src/data/examples/exampleSet.ts';
import { packExamples } from '../../../../src/data/examples/packExamples.ts';
import type { RunData } from '../../../../src/data/runData.ts';
import { createTokenizer } from '../../../../src/data/tokenizers/openTokenizer.ts';
import { createNativeEngine } from '../../../../src/engine/native/nativeEngine.ts';
import { objectiveOf } from '../../../../src/model/objectives/registry.ts';
import { Trainer } from '../../../../src/model/training.ts';
import { checkBatch } from '../../../../src/task/fields.ts';
import { targetsOf, tokenSampleFields } from '../../../../src/task/nextToken.ts';
import { startsOf } from '../../../../src/task/packing.ts';
import { tinyConfig } from '../../../parity/model/tinyModels.ts';

const blockSize = 64;
const config = { ...tinyConfig, vocabSize: 257, blockSize };
const lengths = Array.from({ length: 40 }, (_, i) => 1 + ((7 * i * i) % 37));

/** Example i begins with the token i + 1; all but its first target count. */
async function exampleSet(): Promise<ExampleSet> {
  const samples = lengths.map((length, i) => ({
    tokens: Int32Array.from({ length }, (_, t) => (t === 0 ? i + 1 : 100 + ((i * t) % 90))),
    targets: Int32Array.from({ length }, (_, t) => (t === 0 && length > 1 ? -1 : 100 + ((i * (t + 1)) % 90))),
  }));
  return {
    form: { fields: tokenSampleFields, objective: 'next-token', weight: targetsOf },
    tokenizer: await createTokenizer('byte', ''),
    labels: [],
    train: samples,
    validation: samples.slice(0, 15),
    description: 'numbered examples',
    sha256: 'one',
  };
}

/** The examples of packs, by the first token of each document that has a target. */
function examplesIn(batch: Batch): number[] {
  const { data: starts } = startsOf(batch);
  const [tokens, targets] = ['tokens', 'targets'].map((name) => batch.arrays[name]!.data as Int32Array);
  const [time = 0] = batch.arrays['tokens']!.shape;
  const examples = new Set<number>();
  for (const [i, target] of targets!.entries()) if (target >= 0) examples.add(tokens![i - (i % time) + starts[i]!]!);
  return [...examples];
}

const optionsOf = (epochs: number) => ({ seed: 5, globalBatchSize: 3, blockSize, sampler: 'random', epochs }) as const;

it('has each example once per epoch, in packs that fill the context', async () => {
  const set = packExamples(await exampleSet(), blockSize);
  const packs = set.train.length;
  const places = packs * blockSize;
  expect(lengths.reduce((a, b) => a + b) / places).toBeGreaterThan(0.9);
  const training = exampleRunData(set, 0).training(optionsOf(2));
  expect(training.sampleLimit).toBe(2 * packs);
  expect(training.tokensIn(2 * packs)).toBe(2 * lengths.reduce((a, b) => a + b));
  const used: number[] = [];
  for (let step = 0; step < Math.ceil((2 * packs) / 3); step++) {
    const batch = training.batch(step);
    checkBatch(batch, objectiveOf(set.form.objective, configSchema.parse({}).task).fields(config));
    used.push(...examplesIn(batch));
  }
  const all = lengths.map((_, i) => i + 1);
  expect(used.toSorted((a, b) => a - b)).toEqual(all.flatMap((i) => [i, i]));
});

it('has the mean loss of all targets, in training and in validation', async () => {
  const plain = await exampleSet();
  const packed = packExamples(plain, blockSize);
  const engine = createNativeEngine({ threads: 2 });
  const sumsOf = async (set: ExampleSet) => {
    const data: RunData = exampleRunData(set, 0);
    const trainer = new Trainer(engine, config, {
      seed: 1,
      objective: objectiveOf(data.objective, configSchema.parse({}).task),
    });
    const training = data.training({ ...optionsOf(1), globalBatchSize: set.train.length });
    const validation = data.validation({ blockSize, batchSize: 2, batches: 0 });
    return [
      await trainer.evaluate(training.batch(0)),
      await trainer.evaluate(validation.batch(0, validation.count)),
    ] as const;
  };
  const [apart, together] = [await sumsOf(plain), await sumsOf(packed)];
  await engine.dispose();
  for (const [i, { loss, weight }] of apart.entries()) {
    expect(together[i]!.weight).toBe(weight);
    expect(Math.abs(together[i]!.loss - loss) / loss).toBeLessThan(1e-5);
  }
});

it('is other data for a resume, and so is another length of packs', async () => {
  const set = await exampleSet();
  const hashes = [set, packExamples(set, 64), packExamples(set, 48)].map(({ sha256 }) => sha256);
  expect(new Set(hashes).size).toBe(3);
});
