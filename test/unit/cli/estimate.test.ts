import { expect, it } from 'vitest';
import { stepFlops } from '../../../src/architecture/work.ts';
import { describeTime, estimatedTimes, meanStepFlops } from '../../../src/cli/estimate.ts';
import { modelOf } from '../../../src/config/groups/model.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { exampleRunData } from '../../../src/data/examples/exampleRunData.ts';
import { textRunData } from '../../../src/data/textRunData.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import type { EngineEntry } from '../../../src/engine/engineEntry.ts';
import { engines } from '../../../src/engine/engines.ts';
import { pairSampleFields, pairWeight } from '../../../src/task/pairBatch.ts';
import type { Sample } from '../../../src/task/task.ts';

const text = async () => {
  const tokenizer = await createTokenizer('byte', '');
  const tokens = new Uint16Array(1000);
  const corpora = [{ tokens: 1000, weight: 1 }];
  const dataset = { tokenizer, vocabSize: 100, train: tokens, val: tokens, corpora };
  return textRunData({ ...dataset, description: '', sha256: '', tokenizerSha256: '' }, 256);
};

/** Pairs whose answers have these numbers of tokens. */
async function pairsOf(lengths: readonly (readonly [chosen: number, rejected: number])[]) {
  const numbers = (length: number) => new Int32Array(length);
  const train = lengths.map(
    ([chosen, rejected]): Sample => ({
      chosen: numbers(chosen),
      chosenTargets: numbers(chosen),
      rejected: numbers(rejected),
      rejectedTargets: numbers(rejected),
    }),
  );
  const tokenizer = await createTokenizer('byte', '');
  const form = { fields: pairSampleFields, objective: 'dpo', weight: pairWeight, hasEqualAnswers: () => false };
  return exampleRunData({ form, tokenizer, labels: [], train, validation: [], description: '', sha256: '' }, 0);
}

it('counts windows of text in full', async () => {
  const config = configSchema.parse({ model: { blockSize: 256 }, train: { globalBatchSize: 8, microBatchSize: 4 } });
  const model = modelOf(config.model, 100);
  expect(meanStepFlops(config, await text())).toBeCloseTo(stepFlops(model, 8 * 256), 0);
});

it('counts both answers of a pair, each as long as the step is padded, before their reference is known', async () => {
  const config = configSchema.parse({
    data: { examples: 'pairs.jsonl' },
    task: { kind: 'dpo' },
    train: { globalBatchSize: 1, microBatchSize: 1, maxSteps: 4, epochs: 2 },
  });
  const data = await pairsOf([
    [10, 20],
    [40, 30],
  ]);
  const model = modelOf(config.model, data.vocabSize);
  const flops = [32, 64].map((length) => stepFlops(model, 2 * length, 'all', length));
  expect(meanStepFlops(config, data) / ((flops[0]! + flops[1]!) / 2)).toBeCloseTo(1, 12);
  // In one step, both pairs have the length of the longest answer.
  const both = { ...config, train: { ...config.train, globalBatchSize: 2, maxSteps: 2 } };
  expect(meanStepFlops(both, data) / (2 * flops[1]!)).toBeCloseTo(1, 12);
});

it('is a range, and says what it is made of', () => {
  expect(describeTime(5e9, 600, 100e9)).toBe(
    "estimated 0:40 to 2:00: 5 GFLOP per step at 75 to 25 % of this machine's 100 GFLOP/s; without evaluations and checkpoints",
  );
});

it('is not made for an engine whose limit nobody knows', async () => {
  expect(await estimatedTimes(configSchema.parse({ engine: { name: 'tfjs' } }), await text())).toEqual([]);
});

it('leaves no engine behind that cannot be measured', async () => {
  let disposed = 0;
  const start: EngineEntry['start'] = async (target) => {
    const engine = await engines.tfjs.start(target);
    const dispose = engine.dispose.bind(engine);
    engine.peakFlops = () => {
      throw new Error('no clock');
    };
    engine.dispose = async () => {
      await dispose();
      disposed++;
    };
    return engine;
  };
  const config = configSchema.parse({ engine: { name: 'tfjs' } });
  await expect(estimatedTimes(config, await text(), { table: { tfjs: { ...engines.tfjs, start } } })).rejects.toThrow(
    'no clock',
  );
  expect(disposed).toBe(1);
});
