/**
 * A decoder whose parts can be chosen: Llama by default (Touvron et al., 2023, https://arxiv.org/abs/2302.13971), and the decoder of "Attention
 * Is All You Need" (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762) with sinusoidal positions, layer norms after each branch and ReLU.
 * Parameters have the names of Hugging Face's Phi-3, which is a Llama with merged products. Its files: llamaHuggingFace.ts.
 *
 * B batch, T time, C channels (nEmbd), NH query heads, NKV key heads, HS head size, I inner width of the MLP, V vocabulary.
 */
import { z } from 'zod';
import { choice, flag, positives, real, whole } from '../base/keyTypes.ts';
import { countOf } from '../base/numberText.ts';
import { type Architecture, architectureDoc, type Network, type TokenWork } from './architecture.ts';
import {
  blockPartKeys,
  blockRules,
  blockSizeKeys,
  computedSizes,
  declareFeedForward,
  declareNorm,
  declareSelfAttention,
  declareSinusoidal,
  dropoutKey,
  headsSummary,
  innerWidth,
  inOrder,
  isGated,
  keyHeads,
  partsSummary,
  qkvWidth,
  withNorm,
} from './blockParts.ts';
import { declareHead, labelsKey, labelsSummary, residualStd, std } from './layers.ts';
import { loraKeys, loraOf, loraSummary, transformerLoraTargets } from './lora.ts';
import type { Module, Rope } from './ops.ts';
import type { Declarations, ParameterSpec } from './parameters.ts';
import { declareValueHead, valueHeadKey } from './valueHead.ts';

const keys = z.strictObject({
  architecture: z.literal('transformer').meta({ description: architectureDoc }),
  nLayer: whole({ default: 4, min: 1, max: 512, doc: 'Transformer blocks.' }),
  ...blockSizeKeys,
  blockSize: whole({ default: 64, min: 1, max: 2 ** 20, doc: 'Context length in tokens.' }),
  vocabSize: whole({
    default: 0,
    max: 2 ** 24,
    doc: 'Rows of the token embedding; 0 uses the tokenizer size, a larger number pads it.',
  }),
  positions: choice(['rope', 'learned', 'sinusoidal', 'none'], {
    default: 'rope',
    doc: 'How tokens know their positions. rope: queries and keys are rotated, as in Llama. learned: a trained table, as in GPT-2. sinusoidal: the fixed table of the first Transformer. none: only the causal mask shows the order.',
  }),
  ropeTheta: real({ default: 10_000, min: 1, max: 1e12, doc: 'Base of the wavelengths of rope.' }),
  ropeScaling: positives({
    lengths: [0, 1, 4],
    max: 1e9,
    doc: 'Stretches the wavelengths of rope, for longer contexts. []: none. [factor] stretches all. [factor, lowFrequencyFactor, highFrequencyFactor, originalContext] stretches only the long ones, as in Llama 3.1.',
  }),
  ...blockPartKeys({ norm: 'rms', normPlace: 'pre', mlp: 'swiglu', bias: 'none' }),
  tiedHead: flag({ default: true, doc: 'Share the token embedding with the output projection.' }),
  dropout: dropoutKey,
  labels: labelsKey,
  valueHead: valueHeadKey,
  ...loraKeys(transformerLoraTargets, 'gate_up_proj is the first layer of a gated MLP, up_proj that of the others.'),
});

/** Keys that may be missing: then nothing is added. */
const addedKeys = ['labels', 'valueHead', 'loraRank', 'loraAlpha', 'loraTargets'] as const;
type AddedKey = (typeof addedKeys)[number];
type Keys = z.output<typeof keys>;

/** The sizes and options of a transformer. */
export type TransformerConfig = Readonly<Omit<Keys, AddedKey> & Partial<Pick<Keys, AddedKey>>>;

export const transformer = {
  name: 'transformer',
  doc: 'A decoder with these parts, by default those of Llama.',
  keys,
  trainingKeys: ['dropout'],
  computedSizes,
  freeKeys: ({ positions }) => (positions === 'rope' || positions === 'none' ? ['blockSize'] : []),
  addedKeys,
  rules: [
    ...blockRules,
    {
      key: 'nEmbd',
      other: 'nHead',
      must: 'must for positions: rope be divisible by twice',
      holds: (c) => c.positions !== 'rope' || c.nEmbd % (2 * c.nHead) === 0,
    },
  ],
  network,
  tokenWork,
  summary,
} satisfies Architecture<TransformerConfig>;

function summary(config: TransformerConfig): string {
  const { nLayer, nEmbd, positions, labels } = config;
  const parts = `${positions === 'none' ? 'no' : positions} positions, ${partsSummary(config)}`;
  return `${countOf(nLayer, 'layer')}, ${headsSummary(config)}, ${nEmbd} wide, ${parts}${labelsSummary(labels)}${loraSummary(config)}`;
}

function network(config: TransformerConfig, declare: Declarations): Network {
  const { nLayer, nEmbd: C, vocabSize: V, dropout, tiedHead, labels, valueHead = false } = config;
  const base = loraOf(config) ? declare.marked({ trainable: 'ifNamed' }) : declare;
  const inside = base.in('model');
  const tokenTable = inside.parameter('embed_tokens.weight', [V, C], { std });
  const positionTable = declarePositions(config, inside);
  const blocks = Array.from({ length: nLayer }, (_, layer) =>
    block(config, inside.in(`layers.${layer}`, { fromEnd: nLayer - layer })),
  );
  // After the last block, all is normalised already if each block ends with a norm.
  const lastNorm = config.normPlace === 'pre' ? declareNorm(config, inside, 'norm', { fromEnd: 0 }) : undefined;

  return {
    forward(ops, tokens) {
      let x = ops.dropout(ops.embedding(tokens, tokenTable, positionTable), dropout); // (B, T, C)
      for (const each of blocks) x = ops.block(x, each);
      return lastNorm ? lastNorm(ops, x) : x;
    },
    ...declareHead(declare, base, { labels, tiedHead, embedding: tokenTable }),
    ...(valueHead && { valueHead: declareValueHead(declare, C) }),
  };
}

/** The table of positions, which is added to the embedding. */
function declarePositions(
  { positions, blockSize, nEmbd: C }: TransformerConfig,
  declare: Declarations,
): ParameterSpec | undefined {
  const shape = [blockSize, C];
  if (positions === 'learned') return declare.parameter('embed_positions.weight', shape, { std });
  if (positions !== 'sinusoidal') return undefined;
  return declareSinusoidal(declare, shape);
}

function block(config: TransformerConfig, declare: Declarations): Module {
  const weightStd = residualStd(config.nLayer);
  // The names say where a norm is: before attention, after it, or after the MLP.
  const [first, second] =
    config.normPlace === 'pre'
      ? ['input_layernorm', 'post_attention_layernorm']
      : ['post_attention_layernorm', 'post_feedforward_layernorm'];
  const norm1 = declareNorm(config, declare, first!);
  const attention = declareSelfAttention(config, declare.in('self_attn'), {
    output: 'o_proj',
    weightStd,
    rope: ropeOf(config),
  });
  const norm2 = declareNorm(config, declare, second!);
  const names = [isGated(config.mlp) ? 'gate_up_proj' : 'up_proj', 'down_proj'] as const;
  const mlp = declareFeedForward(config, declare.in('mlp'), { names, weightStd });
  return inOrder([withNorm(config, norm1, attention), withNorm(config, norm2, mlp)]);
}

/** How queries and keys are rotated, if they are. */
function ropeOf(config: TransformerConfig): Rope | undefined {
  const { nHead, nEmbd, positions, blockSize, ropeTheta: theta, ropeScaling: scaling } = config;
  if (positions !== 'rope') return undefined;
  return { theta, scaling, headSize: nEmbd / nHead, heads: nHead + keyHeads(config), positions: blockSize };
}

function tokenWork(config: TransformerConfig, parameterCount: number): TokenWork {
  const { nLayer, nHead, nEmbd: C, blockSize, vocabSize: V, tiedHead, positions, mlp, labels = [] } = config;
  const hasTable = positions === 'learned' || positions === 'sinusoidal';
  const isHeadTied = tiedHead && labels.length === 0;
  const inner = innerWidth(config) * (isGated(mlp) ? 3 : 2);
  return {
    // The position table is only looked up, as is a token table that is not also the head.
    parametersRead: parameterCount - (hasTable ? C * blockSize : 0) - (isHeadTied ? 0 : V * C),
    // The input of each block, the activations of one block, and its attention weights twice, because tfjs materialises them.
    activations: (nLayer + 6) * C + 2 * qkvWidth(config) + inner + 2 * nHead * blockSize,
  };
}
