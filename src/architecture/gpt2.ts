/**
 * GPT-2, after "Language Models are Unsupervised Multitask Learners" (Radford et al., 2019) and nanoGPT's model.py
 * (https://github.com/karpathy/nanoGPT), whose structure it follows. Forward only: the backward pass is the tape's. Its files: gpt2HuggingFace.ts.
 *
 * B batch, T time, C channels (nEmbd), V vocabulary.
 */
import { z } from 'zod';
import { activationKinds, activations } from '../base/activations.ts';
import { choice, flag, real, whole } from '../base/keyTypes.ts';
import { countOf } from '../base/numberText.ts';
import { type Architecture, defaultArchitectureKey, type Network, type TokenWork } from './architecture.ts';
import { declareHead, declareLayerNorm, declareLinear, labelsKey, labelsSummary, residualStd, std } from './layers.ts';
import { gpt2LoraTargets, loraKeys, loraOf, loraSummary } from './lora.ts';
import type { Linear, Module, Ops } from './ops.ts';
import type { Declarations } from './parameters.ts';
import { declareValueHead, valueHeadKey } from './valueHead.ts';

const keys = z.strictObject({
  architecture: defaultArchitectureKey('gpt2'),
  nLayer: whole({ default: 4, min: 1, max: 512, doc: 'Transformer blocks.' }),
  nHead: whole({ default: 4, min: 1, max: 1024, doc: 'Attention heads per block; must divide nEmbd.' }),
  nEmbd: whole({ default: 128, min: 1, max: 65_536, doc: 'Width of the residual stream (channels).' }),
  blockSize: whole({ default: 64, min: 1, max: 65_536, doc: 'Context length in tokens.' }),
  vocabSize: whole({
    default: 0,
    max: 2 ** 24,
    doc: 'Rows of the token embedding; 0 uses the tokenizer size, a larger number pads it (such as 50304 for 50257).',
  }),
  dropout: real({
    default: 0,
    min: 0,
    max: 0.95,
    doc: 'Probability of dropping an element after attention weights, projections and embeddings.',
  }),
  bias: flag({ default: true, doc: 'Give linear layers and layer norms a bias, as in GPT-2.' }),
  activation: choice(activationKinds, {
    default: 'gelu',
    doc: `The MLP's non-linearity. ${activations.map(({ kind, doc }) => `${kind}: ${doc}.`).join(' ')}`,
  }),
  tiedHead: flag({ default: true, doc: 'Share the token embedding with the output projection, as in GPT-2.' }),
  labels: labelsKey,
  valueHead: valueHeadKey,
  ...loraKeys(gpt2LoraTargets, 'A name without attn or mlp means both.'),
});

/** Keys that may be missing: then nothing is added. */
const addedKeys = ['labels', 'valueHead', 'loraRank', 'loraAlpha', 'loraTargets'] as const;
type AddedKey = (typeof addedKeys)[number];
type Keys = z.output<typeof keys>;

/** The sizes and options of a GPT-2. */
export type Gpt2Config = Readonly<Omit<Keys, AddedKey> & Partial<Pick<Keys, AddedKey>>>;

/** GPT-2's, and PyTorch's default. */
export const layerNormEps = 1e-5;

export const gpt2 = {
  name: 'gpt2',
  doc: 'A GPT-2 with these sizes.',
  keys,
  trainingKeys: ['dropout'],
  addedKeys,
  rules: [
    { key: 'nEmbd', other: 'nHead', must: 'must be divisible by', holds: (c) => c.nEmbd % c.nHead === 0 },
    { key: 'loraRank', other: 'nEmbd', must: 'must not exceed', holds: ({ loraRank = 0, nEmbd }) => loraRank <= nEmbd },
  ],
  network: transformer,
  tokenWork,
  summary,
} satisfies Architecture<Gpt2Config>;

function summary(config: Gpt2Config): string {
  const { nLayer, nHead, nEmbd, labels } = config;
  return `${countOf(nLayer, 'layer')}, ${countOf(nHead, 'head')}, ${nEmbd} wide${labelsSummary(labels)}${loraSummary(config)}`;
}

function transformer(config: Gpt2Config, declare: Declarations): Network {
  const { nLayer, nEmbd: C, vocabSize: V, blockSize, dropout, tiedHead, labels, valueHead = false } = config;
  const base = loraOf(config) ? declare.marked({ trainable: 'ifNamed' }) : declare;
  const inside = base.in('transformer');
  const wte = inside.parameter('wte.weight', [V, C], { std });
  const wpe = inside.parameter('wpe.weight', [blockSize, C], { std });
  const blocks = Array.from({ length: nLayer }, (_, layer) =>
    block(config, inside.in(`h.${layer}`, { fromEnd: nLayer - layer })),
  );
  const lnF = layerNorm(config, inside.in('ln_f', { fromEnd: 0 }));
  return {
    forward(ops, tokens) {
      let x = ops.dropout(ops.embedding(tokens, wte, wpe), dropout); // (B, T, C)
      for (const each of blocks) x = ops.block(x, each);
      return lnF(ops, x);
    },
    ...declareHead(declare, base, { labels, tiedHead, embedding: wte }),
    ...(valueHead && { valueHead: declareValueHead(declare, C) }),
  };
}

function block(config: Gpt2Config, declare: Declarations): Module {
  const ln1 = layerNorm(config, declare.in('ln_1'));
  const attention = selfAttention(config, declare);
  const ln2 = layerNorm(config, declare.in('ln_2'));
  const mlp = feedForward(config, declare);

  return (ops, x) => {
    const y = attention(ops, ln1(ops, x), x);
    return mlp(ops, ln2(ops, y), y);
  };
}

/** A module whose result is added to the residual stream. */
type Branch = <V>(ops: Ops<V>, x: V, residual: V) => V;

function selfAttention(config: Gpt2Config, declare: Declarations): Branch {
  const { nHead, nEmbd: C, dropout } = config;
  const cAttn = linear(config, declare, 'attn.c_attn', [C, 3 * C], { merged: [C, C, C] });
  const cProj = linear(config, declare, 'attn.c_proj', [C, C], { weightStd: residualStd(config.nLayer) });

  return (ops, x, residual) => {
    const qkv = ops.linear(x, cAttn); // (B, T, 3C)
    const y = ops.attention(qkv, { nHead, dropout }); // (B, T, C)
    return ops.linear(y, cProj, { residual, dropout });
  };
}

function feedForward(config: Gpt2Config, declare: Declarations): Branch {
  const { nEmbd: C, activation, dropout } = config;
  const cFc = linear(config, declare, 'mlp.c_fc', [C, 4 * C]);
  const cProj = linear(config, declare, 'mlp.c_proj', [4 * C, C], { weightStd: residualStd(config.nLayer) });

  return (ops, x, residual) => {
    const active = ops.linear(x, cFc, { activation }); // (B, T, 4C)
    return ops.linear(active, cProj, { residual, dropout });
  };
}

function linear(
  config: Gpt2Config,
  declare: Declarations,
  name: string,
  [inputs, outputs]: readonly [inputs: number, outputs: number],
  others: { readonly weightStd?: number; readonly merged?: readonly number[] } = {},
): Linear {
  return declareLinear(declare, name, { inputs, outputs, bias: config.bias, lora: loraOf(config), ...others });
}

function layerNorm({ bias, nEmbd }: Gpt2Config, declare: Declarations): Module {
  return declareLayerNorm(declare, { width: nEmbd, bias, eps: layerNormEps });
}

function tokenWork(config: Gpt2Config, parameterCount: number): TokenWork {
  const { nLayer, nHead, nEmbd: C, blockSize, vocabSize: V, tiedHead, labels = [] } = config;
  const isHeadTied = tiedHead && labels.length === 0;
  return {
    // The position table is only looked up, as is a token table that is not also the head.
    parametersRead: parameterCount - C * blockSize - (isHeadTied ? 0 : V * C),
    // The input of each block, the activations of one block, and its attention weights twice, because tfjs materialises them.
    activations: (nLayer + 16) * C + 2 * nHead * blockSize,
  };
}
