/**
 * A decoder whose parts can be chosen: Llama by default (Touvron et al., 2023, https://arxiv.org/abs/2302.13971), and the decoder of "Attention
 * Is All You Need" (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762) with sinusoidal positions, layer norms after each branch and ReLU.
 * Parameters have the names of Hugging Face's Phi-3, which is a Llama with merged products. Its files: llamaHuggingFace.ts.
 *
 * B batch, T time, C channels (nEmbd), NH query heads, NKV key heads, HS head size, I inner width of the MLP, V vocabulary.
 */
import { z } from 'zod';
import { activationKinds } from '../base/activations.ts';
import { choice, flag, positives, real, whole } from '../base/keyTypes.ts';
import { type Architecture, architectureDoc, type Network, type TokenWork } from './architecture.ts';
import { declareHead, declareLayerNorm, declareLinear, labelsKey, labelsSummary, residualStd, std } from './layers.ts';
import { loraKeys, loraOf, loraSummary, transformerLoraTargets } from './lora.ts';
import type { Linear, Module, Ops, Rope } from './ops.ts';
import type { Declarations, ParameterSpec } from './parameters.ts';
import { declareValueHead, valueHeadKey } from './valueHead.ts';

/** What a gated MLP does with its gate. */
const gates = { swiglu: 'silu', geglu: 'gelu' } as const;
type Gated = keyof typeof gates;

/** Gated MLPs have the inner width 8/3 · nEmbd by default, so that they have the parameters of one of 4 · nEmbd, rounded up to this. */
const innerMultiple = 32;

const keys = z.strictObject({
  architecture: z.literal('transformer').meta({ description: architectureDoc }),
  nLayer: whole({ default: 4, min: 1, max: 512, doc: 'Transformer blocks.' }),
  nHead: whole({ default: 4, min: 1, max: 1024, doc: 'Query heads of attention per block; must divide nEmbd.' }),
  nKvHead: whole({
    default: 0,
    max: 1024,
    doc: 'Heads of keys and values, each for nHead / nKvHead query heads (grouped queries); must divide nHead. 0 is nHead.',
  }),
  nEmbd: whole({ default: 128, min: 1, max: 65_536, doc: 'Width of the residual stream (channels).' }),
  nInner: whole({
    default: 0,
    max: 262_144,
    doc: `Inner width of the MLP. 0 is 4 · nEmbd, and for a gated MLP 8/3 · nEmbd, rounded up to a multiple of ${innerMultiple}.`,
  }),
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
    doc: 'Stretches the wavelengths of rope, for longer contexts. [] is without. [factor] stretches all. [factor, lowFrequencyFactor, highFrequencyFactor, originalContext] stretches only the long ones, as in Llama 3.1.',
  }),
  norm: choice(['rms', 'layer'], {
    default: 'rms',
    doc: 'rms: x / RMS(x) · weight, as in Llama. layer: layer norm, as in GPT-2.',
  }),
  normPlace: choice(['pre', 'post'], {
    default: 'pre',
    doc: 'pre: before attention and MLP, and at the end. post: after each is added to the residual stream, as in the first Transformer.',
  }),
  normEps: real({
    default: 1e-5,
    min: 1e-12,
    max: 1,
    doc: 'Added to the variance or mean square that a norm divides by.',
  }),
  mlp: choice(['swiglu', 'geglu', ...activationKinds], {
    default: 'swiglu',
    doc: 'swiglu: silu(gate) · up, as in Llama. geglu: gelu(gate) · up. The others are an activation between two linear layers.',
  }),
  bias: choice(['none', 'qkv', 'attention', 'all'], {
    default: 'none',
    doc: 'Layers with a bias. none: no layer. qkv: queries, keys and values. attention: these and the output of attention. all: every layer and layer norm, but no rms norm.',
  }),
  tiedHead: flag({ default: true, doc: 'Share the token embedding with the output projection.' }),
  dropout: real({
    default: 0,
    min: 0,
    max: 0.95,
    doc: 'Probability of dropping an element after attention weights, projections and embeddings.',
  }),
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
  freeKeys: ({ positions }) => (positions === 'rope' || positions === 'none' ? ['blockSize'] : []),
  addedKeys,
  rules: [
    { key: 'nEmbd', other: 'nHead', must: 'must be divisible by', holds: (c) => c.nEmbd % c.nHead === 0 },
    { key: 'nHead', other: 'nKvHead', must: 'must be divisible by', holds: (c) => c.nHead % keyHeads(c) === 0 },
    {
      key: 'nEmbd',
      other: 'nHead',
      must: 'must for positions: rope be divisible by twice',
      holds: (c) => c.positions !== 'rope' || c.nEmbd % (2 * c.nHead) === 0,
    },
    { key: 'loraRank', other: 'nEmbd', must: 'must not exceed', holds: ({ loraRank = 0, nEmbd }) => loraRank <= nEmbd },
  ],
  network,
  tokenWork,
  summary,
} satisfies Architecture<TransformerConfig>;

/** NKV: heads of keys and values. */
export function keyHeads({ nKvHead, nHead }: TransformerConfig): number {
  return nKvHead || nHead;
}

/** I: the inner width of the MLP. */
export function innerWidth({ nInner, nEmbd: C, mlp }: TransformerConfig): number {
  if (nInner > 0) return nInner;
  return isGated(mlp) ? innerMultiple * Math.ceil((8 * C) / 3 / innerMultiple) : 4 * C;
}

function isGated(mlp: TransformerConfig['mlp']): mlp is Gated {
  return mlp in gates;
}

/** Width of queries, keys and values of a token. */
function qkvWidth(config: TransformerConfig): number {
  const { nHead, nEmbd } = config;
  return (nHead + 2 * keyHeads(config)) * (nEmbd / nHead);
}

function summary(config: TransformerConfig): string {
  const { nLayer, nHead, nEmbd, positions, mlp, normPlace, norm, labels } = config;
  const groups = keyHeads(config) === nHead ? '' : ` (${keyHeads(config)} of keys)`;
  const parts = `${positions === 'none' ? 'no' : positions} positions, ${normPlace}-${norm} norms, ${mlp}`;
  return `${nLayer} layers, ${nHead} heads${groups}, ${nEmbd} wide, ${parts}${labelsSummary(labels)}${loraSummary(config)}`;
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
  const lastNorm = config.normPlace === 'pre' ? norm(config, inside, 'norm', { fromEnd: 0 }) : undefined;

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
  return declare.marked({ trainable: false }).parameter('embed_positions.weight', shape, { sinusoidal: true });
}

function block(config: TransformerConfig, declare: Declarations): Module {
  const isPre = config.normPlace === 'pre';
  // The names say where a norm is: before attention, after it, or after the MLP.
  const [first, second] = isPre
    ? ['input_layernorm', 'post_attention_layernorm']
    : ['post_attention_layernorm', 'post_feedforward_layernorm'];
  const norm1 = norm(config, declare, first!);
  const attention = selfAttention(config, declare.in('self_attn'));
  const norm2 = norm(config, declare, second!);
  const mlp = feedForward(config, declare.in('mlp'));
  if (!isPre)
    return (ops, x) => {
      const y = norm1(ops, attention(ops, x, x));
      return norm2(ops, mlp(ops, y, y));
    };
  return (ops, x) => {
    const y = attention(ops, norm1(ops, x), x);
    return mlp(ops, norm2(ops, y), y);
  };
}

function norm(config: TransformerConfig, declare: Declarations, name: string, place = {}): Module {
  const { nEmbd: width, norm: kind, normEps: eps, bias } = config;
  const inside = declare.in(name, place);
  if (kind === 'layer') return declareLayerNorm(inside, { width, bias: bias === 'all', eps });
  const weight = inside.parameter('weight', [width], { constant: 1 });
  return (ops, x) => ops.rmsNorm(x, { weight }, eps);
}

/** A module whose result is added to the residual stream. */
type Branch = <V>(ops: Ops<V>, x: V, residual: V) => V;

function selfAttention(config: TransformerConfig, declare: Declarations): Branch {
  const { nHead, nEmbd: C, dropout, nLayer, bias } = config;
  const nKvHead = keyHeads(config);
  const rope = ropeOf(config);
  const qkvProj = linear(config, declare, 'qkv_proj', { inputs: C, outputs: qkvWidth(config), bias: bias !== 'none' });
  const isBiased = bias === 'attention' || bias === 'all';
  const oProj = linear(config, declare, 'o_proj', {
    inputs: C,
    outputs: C,
    bias: isBiased,
    weightStd: residualStd(nLayer),
  });

  return (ops, x, residual) => {
    const qkv = ops.linear(x, qkvProj); // (B, T, (NH + 2·NKV)·HS)
    const y = ops.attention(rope ? ops.rope(qkv, rope) : qkv, { nHead, nKvHead, dropout }); // (B, T, C)
    return ops.linear(y, oProj, { residual, dropout });
  };
}

/** How queries and keys are rotated, if they are. */
function ropeOf(config: TransformerConfig): Rope | undefined {
  const { nHead, nEmbd, positions, blockSize, ropeTheta: theta, ropeScaling: scaling } = config;
  if (positions !== 'rope') return undefined;
  return { theta, scaling, headSize: nEmbd / nHead, heads: nHead + keyHeads(config), positions: blockSize };
}

function feedForward(config: TransformerConfig, declare: Declarations): Branch {
  const { nEmbd: C, mlp, dropout, nLayer } = config;
  const I = innerWidth(config);
  const bias = config.bias === 'all';
  const last = { inputs: I, outputs: C, bias, weightStd: residualStd(nLayer) };
  if (isGated(mlp)) {
    const gateUpProj = linear(config, declare, 'gate_up_proj', { inputs: C, outputs: 2 * I, bias });
    const downProj = linear(config, declare, 'down_proj', last);
    // (B, T, 2I), then (B, T, I)
    return (ops, x, residual) =>
      ops.linear(ops.gated(ops.linear(x, gateUpProj), gates[mlp]), downProj, { residual, dropout });
  }
  const upProj = linear(config, declare, 'up_proj', { inputs: C, outputs: I, bias });
  const downProj = linear(config, declare, 'down_proj', last);
  return (ops, x, residual) => ops.linear(ops.linear(x, upProj, { activation: mlp }), downProj, { residual, dropout });
}

/** Weights are [outputs, inputs], as in Hugging Face's files: merging the rows of several is a copy. */
function linear(
  config: TransformerConfig,
  declare: Declarations,
  name: string,
  options: { readonly inputs: number; readonly outputs: number; readonly bias: boolean; readonly weightStd?: number },
): Linear {
  return declareLinear(declare, name, { ...options, lora: loraOf(config), weightTransposed: true });
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
