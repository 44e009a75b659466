/** Small models and batches that the tests of this folder share. */
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import type { ModelConfig } from '../../../src/architecture/registry.ts';
import { randomKey, randomUniform } from '../../../src/base/counterRandom.ts';
import type { DropoutSource } from '../../../src/model/pass.ts';
import { type TokenBatch, tokenBatch } from '../../../src/task/nextToken.ts';

export const tinyConfig: Gpt2Config = {
  architecture: 'gpt2',
  vocabSize: 29,
  blockSize: 8,
  nLayer: 2,
  nHead: 2,
  nEmbd: 16,
  dropout: 0,
  bias: true,
  activation: 'gelu',
  tiedHead: true,
};

/** Every option that changes the graph, each against GPT-2's. */
export const variants: readonly { readonly name: string; readonly config: Gpt2Config }[] = [
  { name: 'gpt2', config: tinyConfig },
  { name: 'no bias', config: { ...tinyConfig, bias: false } },
  { name: 'relu', config: { ...tinyConfig, activation: 'relu' } },
  { name: 'untied head', config: { ...tinyConfig, tiedHead: false } },
  { name: 'dropout', config: { ...tinyConfig, dropout: 0.2 } },
  {
    name: 'one layer, odd sizes',
    config: { ...tinyConfig, vocabSize: 7, blockSize: 5, nLayer: 1, nHead: 3, nEmbd: 15 },
  },
];

/** Random tokens; each target is the token that follows, and every `ignoreEvery`-th is -1. */
export function randomBatch(
  config: Pick<ModelConfig, 'vocabSize' | 'blockSize'>,
  options: { seed: number; batchSize: number; blockSize?: number; ignoreEvery?: number },
): TokenBatch {
  const { seed, batchSize, blockSize = config.blockSize, ignoreEvery } = options;
  const key = randomKey(seed);
  const token = (i: number) => Math.floor(randomUniform(key, i) * config.vocabSize);
  const size = batchSize * blockSize;
  const ignored = (i: number) => ignoreEvery !== undefined && i % ignoreEvery === 0;
  const tokens = Int32Array.from({ length: size }, (_, i) => token(i));
  const targets = Int32Array.from({ length: size }, (_, i) => (ignored(i) ? -1 : token(i + 1)));
  return tokenBatch(tokens, targets, blockSize);
}

/** Samples 0, 1, … of step 3. */
export function dropoutSource(first = 0): DropoutSource {
  return { seed: 11, step: 3, firstSample: first };
}
