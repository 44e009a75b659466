/**
 * Parts of blocks that can be chosen, for architectures whose blocks consist of them: their keys, and the declarations of norms,
 * attention and MLPs.
 *
 * B batch, T time, C channels (nEmbd), NH query heads, NKV key heads, HS head size, I inner width of the MLP.
 */
import { activationKinds } from '../base/activations.ts';
import { choice, real, whole } from '../base/keyTypes.ts';
import { countOf } from '../base/numberText.ts';
import type { KeyRule, Sizes } from './architecture.ts';
import { declareLayerNorm, declareLinear, type LinearOptions } from './layers.ts';
import { loraOf, type MaybeLora } from './lora.ts';
import type { Attention, Linear, Module, Ops, Rope } from './ops.ts';
import type { Declarations, ParameterSpec, PartPlace } from './parameters.ts';

/** What a gated MLP does with its gate. */
const gates = { swiglu: 'silu', geglu: 'gelu' } as const;
type Gated = keyof typeof gates;

/** Gated MLPs have the inner width 8/3 · nEmbd by default, so that they have the parameters of one of 4 · nEmbd, rounded up to this. */
const innerMultiple = 32;

const mlpKinds = ['swiglu', 'geglu', ...activationKinds] as const;
const normKinds = ['rms', 'layer'] as const;
const normPlaces = ['pre', 'post'] as const;
const biasedLayers = ['none', 'qkv', 'attention', 'all'] as const;

/** The options of a block. */
export interface BlockConfig extends Sizes, MaybeLora {
  readonly nHead: number;
  readonly nKvHead: number;
  readonly nEmbd: number;
  readonly nInner: number;
  readonly norm: (typeof normKinds)[number];
  readonly normPlace: (typeof normPlaces)[number];
  readonly normEps: number;
  readonly mlp: (typeof mlpKinds)[number];
  readonly bias: (typeof biasedLayers)[number];
  readonly dropout: number;
}

/** The keys of a block's sizes. */
export const blockSizeKeys = {
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
};

/** The keys of a block's parts, with the defaults of an architecture. */
export function blockPartKeys(defaults: Pick<BlockConfig, 'norm' | 'normPlace' | 'mlp' | 'bias'>) {
  return {
    norm: choice(normKinds, {
      default: defaults.norm,
      doc: 'rms: x / RMS(x) · weight, as in Llama. layer: layer norm, as in GPT-2.',
    }),
    normPlace: choice(normPlaces, {
      default: defaults.normPlace,
      doc: 'pre: before attention and MLP, and at the end. post: after each is added to the residual stream, as in the first Transformer.',
    }),
    normEps: real({
      default: 1e-5,
      min: 1e-12,
      max: 1,
      doc: 'Added to the variance or mean square that a norm divides by.',
    }),
    mlp: choice(mlpKinds, {
      default: defaults.mlp,
      doc: 'swiglu: silu(gate) · up, as in Llama. geglu: gelu(gate) · up. The others are an activation between two linear layers.',
    }),
    bias: choice(biasedLayers, {
      default: defaults.bias,
      doc: 'Layers with a bias. none: no layer. qkv: queries, keys and values. attention: these and the output of attention. all: every layer and layer norm, but no rms norm.',
    }),
  };
}

/** The key of dropout. */
export const dropoutKey = real({
  default: 0,
  min: 0,
  max: 0.95,
  doc: 'Probability of dropping an element after attention weights, projections and embeddings.',
});

/** The rules between these keys. */
export const blockRules: readonly KeyRule<BlockConfig>[] = [
  { key: 'nEmbd', other: 'nHead', must: 'must be divisible by', holds: (c) => c.nEmbd % c.nHead === 0 },
  { key: 'nHead', other: 'nKvHead', must: 'must be divisible by', holds: (c) => c.nHead % keyHeads(c) === 0 },
  { key: 'loraRank', other: 'nEmbd', must: 'must not exceed', holds: ({ loraRank = 0, nEmbd }) => loraRank <= nEmbd },
];

/** NKV: heads of keys and values. */
export function keyHeads({ nKvHead, nHead }: Pick<BlockConfig, 'nKvHead' | 'nHead'>): number {
  return nKvHead || nHead;
}

/** I: the inner width of the MLP. */
export function innerWidth({ nInner, nEmbd: C, mlp }: Pick<BlockConfig, 'nInner' | 'nEmbd' | 'mlp'>): number {
  if (nInner > 0) return nInner;
  return isGated(mlp) ? innerMultiple * Math.ceil((8 * C) / 3 / innerMultiple) : 4 * C;
}

/** The config with the sizes for which it has 0. */
export function computedSizes<Config extends BlockConfig>(config: Config): Config {
  return { ...config, nInner: innerWidth(config), nKvHead: keyHeads(config) };
}

/** Whether the MLP has a gate beside its inner layer. */
export function isGated(mlp: BlockConfig['mlp']): mlp is Gated {
  return mlp in gates;
}

/** Width of queries, keys and values of a token. */
export function qkvWidth(config: Pick<BlockConfig, 'nHead' | 'nKvHead' | 'nEmbd'>): number {
  const { nHead, nEmbd } = config;
  return (nHead + 2 * keyHeads(config)) * (nEmbd / nHead);
}

/** Width of the keys of a token. */
export function keyWidth(config: Pick<BlockConfig, 'nHead' | 'nKvHead' | 'nEmbd'>): number {
  return keyHeads(config) * (config.nEmbd / config.nHead);
}

/** The parts of a block for the summary of a model. */
export function partsSummary({ normPlace, norm, mlp }: BlockConfig): string {
  return `${normPlace}-${norm} norms, ${mlp}`;
}

/** The heads for the summary of a model. */
export function headsSummary(config: BlockConfig): string {
  const { nHead } = config;
  return `${countOf(nHead, 'head')}${keyHeads(config) === nHead ? '' : ` (${keyHeads(config)} of keys)`}`;
}

/** Declares a norm with this name. */
export function declareNorm(config: BlockConfig, declare: Declarations, name: string, place: PartPlace = {}): Module {
  const { nEmbd: width, norm: kind, normEps: eps, bias } = config;
  const inside = declare.in(name, place);
  if (kind === 'layer') return declareLayerNorm(inside, { width, bias: bias === 'all', eps });
  const weight = inside.parameter('weight', [width], { constant: 1 });
  return (ops, x) => ops.rmsNorm(x, { weight }, eps);
}

/** The fixed table of positions, which is not trained. */
export function declareSinusoidal(declare: Declarations, shape: readonly number[]): ParameterSpec {
  return declare.marked({ trainable: false }).parameter('embed_positions.weight', shape, { sinusoidal: true });
}

/** A module whose result is added to the residual stream. `memory` is what an encoder made of a source, for attention to it. */
export type Branch = <V>(ops: Ops<V>, x: V, residual: V, memory?: V) => V;

/** Applies a branch with its norm, before it or after its result has been added to the residual stream. */
export function withNorm({ normPlace }: BlockConfig, norm: Module, branch: Branch): Module {
  if (normPlace === 'post') return (ops, x, memory) => norm(ops, branch(ops, x, x, memory));
  return (ops, x, memory) => branch(ops, norm(ops, x), x, memory);
}

/** Applies modules one after another. */
export function inOrder(modules: readonly Module[]): Module {
  return (ops, x, memory) => modules.reduce((y, module) => module(ops, y, memory), x);
}

/** Declares attention of a sequence to itself, causal unless it is `bidirectional`. @param weightStd of the output projection */
export function declareSelfAttention(
  config: BlockConfig,
  declare: Declarations,
  {
    output,
    weightStd,
    rope,
    bidirectional = false,
  }: {
    readonly output: string;
    readonly weightStd: number;
    readonly rope?: Rope | undefined;
    readonly bidirectional?: boolean;
  },
): Branch {
  const { nEmbd: C, dropout, bias } = config;
  const heads = attentionOf(config);
  const qkv = declareProjection(config, declare, 'qkv_proj', {
    inputs: C,
    outputs: qkvWidth(config),
    bias: bias !== 'none',
    merged: [C, keyWidth(config), keyWidth(config)],
  });
  const out = declareProjection(config, declare, output, {
    inputs: C,
    outputs: C,
    bias: bias === 'attention' || bias === 'all',
    weightStd,
  });
  return (ops, x, residual) => {
    const projected = ops.linear(x, qkv); // (B, T, (NH + 2·NKV)·HS)
    const y = ops.attention(rope ? ops.rope(projected, rope) : projected, { ...heads, bidirectional }); // (B, T, C)
    return ops.linear(y, out, { residual, dropout });
  };
}

/** The heads of a block's attention, and its dropout. */
export function attentionOf(config: BlockConfig): Attention {
  return { nHead: config.nHead, nKvHead: keyHeads(config), dropout: config.dropout };
}

/** Declares an MLP whose layers have these names. @param weightStd of the second */
export function declareFeedForward(
  config: BlockConfig,
  declare: Declarations,
  { names: [first, second], weightStd }: { readonly names: readonly [string, string]; readonly weightStd: number },
): Branch {
  const { nEmbd: C, mlp, dropout } = config;
  const I = innerWidth(config);
  const bias = config.bias === 'all';
  const merged = isGated(mlp) ? [I, I] : [I];
  const up = declareProjection(config, declare, first, { inputs: C, outputs: merged.length * I, bias, merged });
  const down = declareProjection(config, declare, second, { inputs: I, outputs: C, bias, weightStd });
  if (isGated(mlp)) {
    // (B, T, 2I), then (B, T, I)
    return (ops, x, residual) => ops.linear(ops.gated(ops.linear(x, up), gates[mlp]), down, { residual, dropout });
  }
  return (ops, x, residual) => ops.linear(ops.linear(x, up, { activation: mlp }), down, { residual, dropout });
}

/** Weights are [outputs, inputs], as in Hugging Face's files: merging the rows of several is a copy. */
export function declareProjection(
  config: BlockConfig,
  declare: Declarations,
  name: string,
  options: Omit<LinearOptions, 'lora' | 'weightTransposed'>,
): Linear {
  return declareLinear(declare, name, { ...options, lora: loraOf(config), weightTransposed: true });
}
