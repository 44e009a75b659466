/**
 * An encoder–decoder: the Transformer of "Attention Is All You Need" (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762) by default. The
 * encoder reads a source in both directions; each block of the decoder attends to the target so far, and then to what the encoder made of the
 * source. Parameters have the names of Hugging Face's MarianMT, with merged products. Its files: marianHuggingFace.ts.
 *
 * B batch, S source time, T target time, C channels (nEmbd), V vocabulary, KV width of keys.
 */
import { z } from 'zod';
import { choice, flag, whole } from '../base/keyTypes.ts';
import { countOf } from '../base/numberText.ts';
import { type Architecture, architectureDoc, type Network, type TokenWork } from './architecture.ts';
import {
  attentionOf,
  type Branch,
  blockPartKeys,
  blockRules,
  blockSizeKeys,
  computedSizes,
  declareFeedForward,
  declareNorm,
  declareProjection,
  declareSelfAttention,
  declareSinusoidal,
  dropoutKey,
  headsSummary,
  innerWidth,
  inOrder,
  isGated,
  keyWidth,
  partsSummary,
  qkvWidth,
  withNorm,
} from './blockParts.ts';
import { declareHead, residualStd, std } from './layers.ts';
import { encoderDecoderLoraTargets, loraKeys, loraOf, loraSummary } from './lora.ts';
import type { Module, Ops, Tokens } from './ops.ts';
import { Declarations, type ParameterSpec } from './parameters.ts';

const keys = z.strictObject({
  architecture: z.literal('encoderDecoder').meta({ description: architectureDoc }),
  nLayer: whole({ default: 4, min: 1, max: 512, doc: 'Blocks of the decoder.' }),
  encoderLayers: whole({ default: 4, min: 1, max: 512, doc: 'Blocks of the encoder.' }),
  ...blockSizeKeys,
  blockSize: whole({
    default: 64,
    min: 1,
    max: 65_536,
    doc: 'Length of the longest source, and of the longest target, in tokens.',
  }),
  vocabSize: whole({
    default: 0,
    max: 2 ** 24,
    doc: 'Rows of the token embedding, which sources and targets share; 0 uses the tokenizer size, a larger number pads it.',
  }),
  positions: choice(['sinusoidal', 'learned', 'none'], {
    default: 'sinusoidal',
    doc: 'How tokens know their positions. sinusoidal: the fixed table of the first Transformer. learned: a trained table for sources and one for targets. none: only the causal mask of targets shows the order.',
  }),
  scaleEmbedding: flag({
    default: true,
    doc: 'Multiply token embeddings by the square root of nEmbd before positions are added, as in the first Transformer.',
  }),
  ...blockPartKeys({ norm: 'layer', normPlace: 'post', mlp: 'relu', bias: 'all' }),
  tiedHead: flag({ default: true, doc: 'Share the token embedding with the output projection.' }),
  dropout: dropoutKey,
  beginToken: whole({
    default: -1,
    min: -1,
    max: 2 ** 24,
    doc: 'Id of the token that every target begins with. -1: the token that ends it. Weights of MarianMT have their own.',
  }),
  ...loraKeys(
    encoderDecoderLoraTargets,
    'q_proj and kv_proj belong to attention to the source. fc1 and fc2 are the layers of an MLP.',
  ),
});

/** Keys that may be missing: then nothing is added, and a target begins with the token that ends it. */
const addedKeys = ['beginToken', 'loraRank', 'loraAlpha', 'loraTargets'] as const;
type AddedKey = (typeof addedKeys)[number];
type Keys = z.output<typeof keys>;

/** The sizes and options of an encoder–decoder. */
export type EncoderDecoderConfig = Readonly<Omit<Keys, AddedKey> & Partial<Pick<Keys, AddedKey>>>;

export const encoderDecoder = {
  name: 'encoderDecoder',
  doc: 'An encoder of a source and a decoder of a target, for tasks such as translation; by default the first Transformer.',
  keys,
  trainingKeys: ['dropout'],
  computedSizes,
  addedKeys,
  rules: [
    ...blockRules,
    {
      key: 'beginToken',
      other: 'vocabSize',
      must: 'must be less than',
      // 0: the vocabulary is that of the tokenizer.
      holds: ({ beginToken = -1, vocabSize }) => vocabSize === 0 || beginToken < vocabSize,
    },
  ],
  network,
  tokenWork,
  summary,
} satisfies Architecture<EncoderDecoderConfig>;

function summary(config: EncoderDecoderConfig): string {
  const { nLayer, encoderLayers, nEmbd, positions } = config;
  const parts = `${positions === 'none' ? 'no' : positions} positions, ${partsSummary(config)}`;
  const layers = `${countOf(encoderLayers, 'encoder layer')}, ${countOf(nLayer, 'decoder layer')}`;
  return `${layers}, ${headsSummary(config)}, ${nEmbd} wide, ${parts}${loraSummary(config)}`;
}

function network(config: EncoderDecoderConfig, declare: Declarations): Network {
  const { nLayer, encoderLayers, nEmbd: C, vocabSize: V, tiedHead, scaleEmbedding } = config;
  const base = loraOf(config) ? declare.marked({ trainable: 'ifNamed' }) : declare;
  const inside = base.in('model');
  // With the scale, the rows that enter the first block have numbers of magnitude 1, like those of the positions.
  const table = inside.parameter('shared.weight', [V, C], { std: scaleEmbedding ? 1 / Math.sqrt(C) : std });
  const encoder = declareStack(config, inside.in('encoder'), {
    table,
    blocks: encoderLayers,
    behind: nLayer,
    declareBlock: encoderBlock,
  });
  const decoder = declareStack(config, inside.in('decoder'), {
    table,
    blocks: nLayer,
    behind: 0,
    declareBlock: decoderBlock,
  });
  return {
    encode: (ops, source) => encoder(ops, source),
    forward: (ops, tokens, memory) => decoder(ops, tokens, memory),
    ...declareHead(declare, base, { tiedHead, embedding: table }),
  };
}

interface Stack {
  readonly table: ParameterSpec;
  /** Number of blocks. */
  readonly blocks: number;
  /** Number of blocks of the network that follow them. */
  readonly behind: number;
  readonly declareBlock: (config: EncoderDecoderConfig, declare: Declarations) => Module;
}

/** Blocks over the embedding of tokens. */
function declareStack(
  config: EncoderDecoderConfig,
  declare: Declarations,
  { table, blocks: count, behind, declareBlock }: Stack,
): <V>(ops: Ops<V>, tokens: Tokens, memory?: V) => V {
  const { nEmbd: C, dropout, scaleEmbedding, normPlace } = config;
  const positions = declarePositions(config, declare);
  const blocks = Array.from({ length: count }, (_, layer) =>
    declareBlock(config, declare.in(`layers.${layer}`, { fromEnd: behind + count - layer })),
  );
  // After the last block, all is normalised already if each block ends with a norm.
  const lastNorm = normPlace === 'pre' ? declareNorm(config, declare, 'layer_norm', { fromEnd: behind }) : undefined;
  const scale = scaleEmbedding ? Math.sqrt(C) : 1;
  return (ops, tokens, memory) => {
    let x = ops.dropout(ops.embedding(tokens, table, positions, scale), dropout); // (B, T, C)
    for (const each of blocks) x = ops.block(x, each, memory);
    return lastNorm ? lastNorm(ops, x) : x;
  };
}

/** The table of positions, which is added to the embedding. */
function declarePositions(
  { positions, blockSize, nEmbd: C }: EncoderDecoderConfig,
  declare: Declarations,
): ParameterSpec | undefined {
  const shape = [blockSize, C];
  if (positions === 'none') return undefined;
  if (positions === 'sinusoidal') return declareSinusoidal(declare, shape);
  return declare.parameter('embed_positions.weight', shape, { std });
}

function encoderBlock(config: EncoderDecoderConfig, declare: Declarations): Module {
  const weightStd = residualStd(config.encoderLayers);
  const options = { output: 'out_proj', weightStd, bidirectional: true };
  const attention = declareSelfAttention(config, declare.in('self_attn'), options);
  const norm = declareNorm(config, declare, 'self_attn_layer_norm');
  return inOrder([withNorm(config, norm, attention), feedForward(config, declare, weightStd)]);
}

function decoderBlock(config: EncoderDecoderConfig, declare: Declarations): Module {
  const weightStd = residualStd(1.5 * config.nLayer); // three branches in each block
  const attention = declareSelfAttention(config, declare.in('self_attn'), { output: 'out_proj', weightStd });
  const norm = declareNorm(config, declare, 'self_attn_layer_norm');
  const toSource = sourceAttention(config, declare.in('encoder_attn'), weightStd);
  const sourceNorm = declareNorm(config, declare, 'encoder_attn_layer_norm');
  return inOrder([
    withNorm(config, norm, attention),
    withNorm(config, sourceNorm, toSource),
    feedForward(config, declare, weightStd),
  ]);
}

/** The MLP with its norm. */
function feedForward(config: EncoderDecoderConfig, declare: Declarations, weightStd: number): Module {
  const mlp = declareFeedForward(config, declare, { names: ['fc1', 'fc2'], weightStd });
  return withNorm(config, declareNorm(config, declare, 'final_layer_norm'), mlp);
}

/** Attention to the source. */
function sourceAttention(config: EncoderDecoderConfig, declare: Declarations, weightStd: number): Branch {
  const { nEmbd: C, bias, dropout } = config;
  const project = (name: string, merged: readonly number[]) => {
    const outputs = merged.reduce((sum, each) => sum + each);
    return declareProjection(config, declare, name, { inputs: C, outputs, bias: bias !== 'none', merged });
  };
  const q = project('q_proj', [C]);
  const kv = project('kv_proj', [keyWidth(config), keyWidth(config)]);
  const out = declareProjection(config, declare, 'out_proj', {
    inputs: C,
    outputs: C,
    bias: bias === 'attention' || bias === 'all',
    weightStd,
  });
  return (ops, x, residual, memory) => {
    const y = ops.sourceAttention(ops.linear(x, q), memory, kv, attentionOf(config)); // (B, T, C)
    return ops.linear(y, out, { residual, dropout });
  };
}

function tokenWork(config: EncoderDecoderConfig, parameterCount: number): TokenWork {
  const { nLayer, encoderLayers, nHead, nEmbd: C, blockSize, vocabSize: V, tiedHead, mlp } = config;
  const inner = innerWidth(config) * (isGated(mlp) ? 3 : 2);
  return {
    parametersRead: parameterCount - unreadCount(config) - (tiedHead ? 0 : V * C),
    // The input of each block, the result of the encoder, the activations of one block, and its attention weights twice, because
    // tfjs materialises them.
    activations:
      (nLayer + encoderLayers + 8) * C + 2 * qkvWidth(config) + 2 * keyWidth(config) + inner + 2 * nHead * blockSize,
  };
}

/** Number of parameters that are read once for a source, and of positions, which are only looked up. */
function unreadCount(config: EncoderDecoderConfig): number {
  const declare = new Declarations();
  network(config, declare);
  const isUnread = (name: string) =>
    name.startsWith('model.encoder.') || name.includes('.encoder_attn.kv_proj.') || name.includes('embed_positions');
  return declare.specs.reduce((sum, { name, size, isAdapter }) => (isUnread(name) && !isAdapter ? sum + size : sum), 0);
}
