/** Small models and batches that the tests of this folder share. */
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import type { ModelConfig } from '../../../src/architecture/registry.ts';
import type { TransformerConfig } from '../../../src/architecture/transformer.ts';
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

/** A tiny Llama with grouped queries. */
export const tinyLlama: TransformerConfig = {
  architecture: 'transformer',
  vocabSize: 29,
  blockSize: 8,
  nLayer: 2,
  nHead: 4,
  nKvHead: 2,
  nEmbd: 16,
  nInner: 20,
  positions: 'rope',
  ropeTheta: 100,
  ropeScaling: [],
  norm: 'rms',
  normPlace: 'pre',
  normEps: 1e-5,
  mlp: 'swiglu',
  bias: 'none',
  tiedHead: false,
  dropout: 0,
};

/** The decoder of the first Transformer. */
export const tinyVaswani: TransformerConfig = {
  ...tinyLlama,
  nKvHead: 0,
  positions: 'sinusoidal',
  norm: 'layer',
  normPlace: 'post',
  mlp: 'relu',
  bias: 'all',
  tiedHead: true,
};

const isOnlyTrained = [
  'llama',
  'no positions, pre-layer norms, gelu',
  'learned positions, post-rms, gated gelu, one key head',
];

/** Every option that changes the graph, each against GPT-2's, and the parts of other transformers. */
export const variants: readonly { readonly name: string; readonly config: Gpt2Config | TransformerConfig }[] = [
  { name: 'llama', config: tinyLlama },
  {
    name: 'llama with biases, scaled rope and dropout',
    config: { ...tinyLlama, bias: 'qkv', ropeScaling: [4, 1, 4, 6], dropout: 0.2, tiedHead: true },
  },
  { name: 'sinusoidal, post-norm, relu', config: tinyVaswani },
  {
    name: 'learned positions, post-rms, gated gelu, one key head',
    config: { ...tinyLlama, nKvHead: 1, positions: 'learned', normPlace: 'post', mlp: 'geglu', bias: 'attention' },
  },
  {
    name: 'no positions, pre-layer norms, gelu',
    config: { ...tinyLlama, positions: 'none', norm: 'layer', mlp: 'gelu', bias: 'all', dropout: 0.1 },
  },
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

/** Those of the variants that decode differently: some parts of other transformers are only in the others. */
export const decodedVariants = variants.filter(({ name }) => !isOnlyTrained.includes(name));

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
