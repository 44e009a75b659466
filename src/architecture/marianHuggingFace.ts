/**
 * Hugging Face's format of MarianMT (https://huggingface.co/docs/transformers/model_doc/marian), both ways: `config.json`, and the names of
 * tensors. Our merged products are several tensors there: q_proj, k_proj and v_proj. The fixed tables of positions are not in such files, and
 * a bias of the logits, which our models lack, is accepted only as 0. What such a folder may have and Lockstep does not compute is refused by name.
 */
import { z } from 'zod';
import {
  activationKinds,
  activationOfHuggingFace,
  huggingFaceActivation,
  huggingFaceActivations,
} from '../base/activations.ts';
import { UserError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import type { HuggingFaceFormat, NamedShape } from './architecture.ts';
import { innerWidth, keyHeads, keyWidth } from './blockParts.ts';
import type { EncoderDecoderConfig } from './encoderDecoder.ts';
import { std } from './layers.ts';
import { loraOf } from './lora.ts';
import { splitMerged } from './mergedTensors.ts';

const size = z
  .number()
  .int()
  .min(1)
  .max(2 ** 31);
const token = z
  .number()
  .int()
  .min(0)
  .max(2 ** 24)
  .nullable();
const layers = z.number().int().min(1).max(10_000);

const hfConfigSchema = z.object({
  d_model: size.default(1024),
  vocab_size: size,
  decoder_vocab_size: size.nullish(),
  max_position_embeddings: size.default(1024),
  encoder_layers: layers.default(12),
  decoder_layers: layers.default(12),
  encoder_attention_heads: size.default(16),
  decoder_attention_heads: size.default(16),
  encoder_ffn_dim: size.default(4096),
  decoder_ffn_dim: size.default(4096),
  activation_function: z.string().default('gelu'),
  dropout: z.number().min(0).lt(1).default(0.1),
  scale_embedding: z.boolean().default(false),
  share_encoder_decoder_embeddings: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(true),
  decoder_start_token_id: token.default(58_100),
  eos_token_id: token.default(0),
  // Keys of older exports.
  static_position_embeddings: z.boolean().default(true),
  normalize_before: z.boolean().default(false),
  normalize_embedding: z.boolean().default(false),
  add_final_layer_norm: z.boolean().default(false),
  quantization_config: z.unknown().optional(),
});

const CLASSES = ['MarianMTModel', 'MarianModel'];
/** PyTorch's default, which the format cannot change. */
const normEps = 1e-5;
/** The table of embeddings under the names of its other uses, and fixed tables. */
const REPEATED = /^(model\.)?((encoder|decoder)\.embed_tokens\.weight)$/;
const LOGITS_BIAS = 'final_logits_bias';

export const marianHuggingFace: HuggingFaceFormat<EncoderDecoderConfig> = {
  modelTypes: ['marian'],
  encode: encodeConfig,
  decode: decodeConfig,
  tensorName(name, { tiedHead }) {
    if (REPEATED.test(name) || name === LOGITS_BIAS || (name === 'lm_head.weight' && tiedHead)) return undefined;
    return /^(model|lm_head)\./.test(name) ? name : `model.${name}`;
  },
  tensorsOf,
  zeros: [LOGITS_BIAS],
};

/** The parts of a merged weight or bias, in the order of their rows. */
function tensorsOf(parameter: NamedShape, config: EncoderDecoderConfig): readonly NamedShape[] {
  const width = keyWidth(config);
  return splitMerged(parameter, {
    'self_attn.qkv_proj': [
      ['q_proj', config.nEmbd],
      ['k_proj', width],
      ['v_proj', width],
    ],
    'encoder_attn.kv_proj': [
      ['k_proj', width],
      ['v_proj', width],
    ],
  });
}

/** Undefined for a model that is not a MarianMT, such as one with norms before each branch. */
function encodeConfig(
  config: EncoderDecoderConfig,
  endOfText: number | undefined,
): Record<string, unknown> | undefined {
  const { positions, norm, normPlace, mlp, bias, nHead } = config;
  const activation = activationKinds.find((kind) => kind === mlp);
  const isMarian =
    positions === 'sinusoidal' &&
    norm === 'layer' &&
    normPlace === 'post' &&
    config.normEps === normEps &&
    bias === 'all' &&
    keyHeads(config) === nHead;
  // transformers would load the weights and ignore the adapters.
  if (!isMarian || activation === undefined || loraOf(config) !== undefined) return undefined;
  const inner = innerWidth(config);
  const { beginToken = -1 } = config;
  const begin = beginToken < 0 ? (endOfText ?? null) : beginToken;
  return {
    architectures: [CLASSES[0]],
    model_type: 'marian',
    d_model: config.nEmbd,
    encoder_layers: config.encoderLayers,
    decoder_layers: config.nLayer,
    encoder_attention_heads: nHead,
    decoder_attention_heads: nHead,
    encoder_ffn_dim: inner,
    decoder_ffn_dim: inner,
    max_position_embeddings: config.blockSize,
    vocab_size: config.vocabSize,
    decoder_vocab_size: config.vocabSize,
    activation_function: huggingFaceActivation(activation),
    scale_embedding: config.scaleEmbedding,
    dropout: config.dropout,
    attention_dropout: config.dropout,
    activation_dropout: 0,
    init_std: std,
    share_encoder_decoder_embeddings: true,
    tie_word_embeddings: config.tiedHead,
    is_encoder_decoder: true,
    decoder_start_token_id: begin,
    bos_token_id: null,
    eos_token_id: endOfText ?? null,
    // Nothing attends to padding. Models converted from Marian begin with it too.
    pad_token_id: begin,
    forced_eos_token_id: null,
    torch_dtype: 'float32',
  };
}

function decodeConfig(value: Readonly<Record<string, unknown>>, path: string): EncoderDecoderConfig {
  const { architectures } = value;
  const named = Array.isArray(architectures) ? architectures : [];
  if (!named.every((name) => CLASSES.includes(name))) {
    throw new UserError(
      `${path} describes another architecture: ${JSON.stringify(architectures).slice(0, 300)}; expected architectures ["${CLASSES[0]}"]`,
    );
  }
  const result = hfConfigSchema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw damaged(path, `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const hf = result.data;
  const begin = hf.decoder_start_token_id;
  const { d_model: C, encoder_attention_heads: nHead, encoder_ffn_dim: inner } = hf;
  if (C % nHead !== 0) throw damaged(path, `d_model ${C} is not divisible by encoder_attention_heads ${nHead}`);
  const expected: Partial<Record<keyof typeof hf, unknown>> = {
    decoder_vocab_size: hf.decoder_vocab_size == null ? hf.decoder_vocab_size : hf.vocab_size,
    decoder_attention_heads: nHead,
    decoder_ffn_dim: inner,
    share_encoder_decoder_embeddings: true,
    static_position_embeddings: true,
    normalize_before: false,
    normalize_embedding: false,
    add_final_layer_norm: false,
    quantization_config: undefined,
  };
  for (const [key, supported] of Object.entries(expected)) {
    const came = hf[key as keyof typeof hf];
    if (came !== supported) throw unsupported(path, key, came, JSON.stringify(supported) ?? 'weights as floats');
  }
  const mlp = activationOfHuggingFace(hf.activation_function);
  if (mlp === undefined) {
    throw unsupported(path, 'activation_function', hf.activation_function, huggingFaceActivations.join(' or '));
  }
  return {
    architecture: 'encoderDecoder',
    nLayer: hf.decoder_layers,
    encoderLayers: hf.encoder_layers,
    nHead,
    nKvHead: 0,
    nEmbd: C,
    nInner: inner,
    blockSize: hf.max_position_embeddings,
    vocabSize: hf.vocab_size,
    positions: 'sinusoidal',
    scaleEmbedding: hf.scale_embedding,
    norm: 'layer',
    normPlace: 'post',
    normEps,
    mlp,
    bias: 'all',
    tiedHead: hf.tie_word_embeddings,
    dropout: hf.dropout,
    beginToken: begin === null || begin === hf.eos_token_id ? -1 : begin,
  };
}

function unsupported(path: string, key: string, came: unknown, supported: string): UserError {
  return new UserError(
    `${path}: ${key} is ${JSON.stringify(came)?.slice(0, 300)}, which is not supported: expected ${supported}`,
  );
}
