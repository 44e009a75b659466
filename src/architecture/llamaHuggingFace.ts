/**
 * Hugging Face's format of a Llama (https://huggingface.co/docs/transformers/model_doc/llama), both ways: `config.json`, and the names of
 * tensors. Our merged products are several tensors there: q_proj, k_proj and v_proj, or gate_proj and up_proj, whose rows follow one
 * another in ours. Mistral without a sliding window is the same model with another name, and Qwen2 the one with biases of queries, keys
 * and values. What such a folder may have and Lockstep does not compute is refused by name.
 */
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import type { HuggingFaceFormat, NamedShape } from './architecture.ts';
import { innerWidth, keyHeads, keyWidth } from './blockParts.ts';
import { decodeLabels, encodeLabels, labelFields } from './huggingFaceLabels.ts';
import { std } from './layers.ts';
import { loraOf } from './lora.ts';
import { splitMerged } from './mergedTensors.ts';
import type { TransformerConfig } from './transformer.ts';
import { hasValueHead } from './valueHead.ts';

const size = z
  .number()
  .int()
  .min(1)
  .max(2 ** 31);

const ropeSchema = z.looseObject({
  rope_theta: z.number().optional(),
  rope_type: z.string().optional(),
  /** The name before transformers 4.43. */
  type: z.string().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: z.number().positive().optional(),
});

const hfConfigSchema = z.object({
  hidden_size: size,
  num_hidden_layers: z.number().int().min(1).max(10_000),
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  intermediate_size: size,
  max_position_embeddings: size.default(2048),
  vocab_size: size,
  hidden_act: z.string().default('silu'),
  rms_norm_eps: z.number().default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  attention_dropout: z.number().min(0).lt(1).default(0),
  mlp_bias: z.boolean().default(false),
  rope_theta: z.number().optional(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
  sliding_window: z.number().nullish(),
  use_sliding_window: z.boolean().optional(),
  layer_types: z.array(z.string()).nullish(),
  partial_rotary_factor: z.number().nullish(),
  quantization_config: z.unknown().optional(),
  ...labelFields,
});

type HfConfig = z.output<typeof hfConfigSchema>;

/** The names of the classes of each `model_type`, before what they are for. */
const classPrefixes = { llama: 'Llama', mistral: 'Mistral', qwen2: 'Qwen2' } as const;
type ModelType = keyof typeof classPrefixes;

const CLASSIFIER = 'ForSequenceClassification';
/** Headless exports have the tensors of a tied head. */
const LANGUAGE_MODELS = ['ForCausalLM', 'Model'];

/** The activation of the gate, by our key and by the names there; we write the first. */
const gateNames = { swiglu: ['silu', 'swish'], geglu: ['gelu_pytorch_tanh', 'gelu_new', 'gelu_fast'] } as const;

/** Buffers of older exports: the wavelengths of rope. */
const ROPE_BUFFER = /\.rotary_emb\.inv_freq$/;

export const llamaHuggingFace: HuggingFaceFormat<TransformerConfig> = {
  modelTypes: ['llama', 'mistral', 'qwen2'],
  encode: encodeConfig,
  decode: decodeConfig,
  tensorName(name, { tiedHead }) {
    if (ROPE_BUFFER.test(name) || (name === 'lm_head.weight' && tiedHead)) return undefined;
    return /^(model|lm_head|score|value)\./.test(name) ? name : `model.${name}`;
  },
  tensorsOf,
};

/** The parts of a merged weight or bias, in the order of their rows. */
function tensorsOf(parameter: NamedShape, config: TransformerConfig): readonly NamedShape[] {
  const [width, inner] = [keyWidth(config), innerWidth(config)];
  return splitMerged(parameter, {
    'self_attn.qkv_proj': [
      ['q_proj', config.nEmbd],
      ['k_proj', width],
      ['v_proj', width],
    ],
    'mlp.gate_up_proj': [
      ['gate_proj', inner],
      ['up_proj', inner],
    ],
  });
}

/** Undefined for a model that is not a Llama, such as one with learned positions. */
function encodeConfig(config: TransformerConfig, endOfText: number | undefined): Record<string, unknown> | undefined {
  const { positions, norm, normPlace, mlp, bias, labels = [], ropeTheta, ropeScaling } = config;
  const isLlama =
    positions === 'rope' && norm === 'rms' && normPlace === 'pre' && (mlp === 'swiglu' || mlp === 'geglu');
  // transformers would load the weights and ignore the adapters and the value head.
  if (!isLlama || loraOf(config) !== undefined || hasValueHead(config)) return undefined;
  const modelType: ModelType = bias === 'qkv' ? 'qwen2' : 'llama';
  return {
    architectures: [`${classPrefixes[modelType]}${labels.length > 0 ? CLASSIFIER : LANGUAGE_MODELS[0]}`],
    model_type: modelType,
    hidden_size: config.nEmbd,
    intermediate_size: innerWidth(config),
    num_hidden_layers: config.nLayer,
    num_attention_heads: config.nHead,
    num_key_value_heads: keyHeads(config),
    head_dim: config.nEmbd / config.nHead,
    max_position_embeddings: config.blockSize,
    vocab_size: config.vocabSize,
    hidden_act: gateNames[mlp][0],
    rms_norm_eps: config.normEps,
    rope_theta: ropeTheta,
    rope_scaling: encodeScaling(ropeScaling),
    // Qwen2 has these biases always, and no others.
    ...(modelType === 'llama' && { attention_bias: bias !== 'none', mlp_bias: bias === 'all' }),
    attention_dropout: config.dropout,
    initializer_range: std,
    tie_word_embeddings: config.tiedHead,
    bos_token_id: endOfText ?? null,
    eos_token_id: endOfText ?? null,
    ...(labels.length > 0 && encodeLabels(labels, endOfText)),
    torch_dtype: 'float32',
  };
}

function encodeScaling([factor, low, high, original]: readonly number[]): Record<string, unknown> | null {
  if (factor === undefined) return null;
  if (low === undefined) return { rope_type: 'linear', factor };
  return {
    rope_type: 'llama3',
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}

function unsupported(path: string, key: string, came: unknown, supported: string): UserError {
  return new UserError(
    `${path}: ${key} is ${JSON.stringify(came)?.slice(0, 300)}, which is not supported: expected ${supported}`,
  );
}

function decodeConfig(value: Readonly<Record<string, unknown>>, path: string): TransformerConfig {
  const modelType = value['model_type'] as ModelType;
  const isClassifier = hasClassifier(value['architectures'], modelType, path);
  const result = hfConfigSchema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw damaged(path, `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const hf = result.data;
  const { hidden_size: C, num_attention_heads: nHead, num_key_value_heads: nKvHead } = hf;
  checkVariant(hf, modelType, path);
  const mlp = (['swiglu', 'geglu'] as const).find((key) =>
    (gateNames[key] as readonly string[]).includes(hf.hidden_act),
  );
  if (mlp === undefined) {
    throw unsupported(path, 'hidden_act', hf.hidden_act, Object.values(gateNames).flat().join(' or '));
  }
  const theta = hf.rope_parameters?.rope_theta ?? hf.rope_scaling?.rope_theta ?? hf.rope_theta ?? 10_000;
  return {
    architecture: 'transformer',
    nLayer: hf.num_hidden_layers,
    nHead,
    nKvHead: nKvHead == null || nKvHead === nHead ? 0 : nKvHead,
    nEmbd: C,
    nInner: hf.intermediate_size,
    blockSize: hf.max_position_embeddings,
    vocabSize: hf.vocab_size,
    positions: 'rope',
    ropeTheta: theta,
    ropeScaling: decodeScaling(hf, path),
    norm: 'rms',
    normPlace: 'pre',
    normEps: hf.rms_norm_eps,
    mlp,
    bias: modelType === 'qwen2' ? 'qkv' : hf.mlp_bias ? 'all' : hf.attention_bias ? 'attention' : 'none',
    tiedHead: hf.tie_word_embeddings,
    dropout: hf.attention_dropout,
    labels: isClassifier ? decodeLabels(hf, path) : [],
  };
}

/** Whether the classes of `architectures` have a classification head. @throws UserError for other classes */
function hasClassifier(architectures: unknown, modelType: ModelType, path: string): boolean {
  const named = Array.isArray(architectures) ? architectures : [];
  const prefix = classPrefixes[modelType];
  const isClassifier = named.includes(prefix + CLASSIFIER);
  const known = (isClassifier ? [CLASSIFIER] : LANGUAGE_MODELS).map((suffix) => prefix + suffix);
  if (named.every((name) => known.includes(name))) return isClassifier;
  throw new UserError(
    `${path} describes another architecture: ${JSON.stringify(architectures).slice(0, 300)}; expected architectures ["${prefix}ForCausalLM"] or ["${prefix}${CLASSIFIER}"]`,
  );
}

/** @throws UserError naming the key of a variant that is computed otherwise */
function checkVariant(hf: HfConfig, modelType: ModelType, path: string): void {
  const { hidden_size: C, num_attention_heads: nHead, head_dim: headSize } = hf;
  if (C % nHead !== 0) throw damaged(path, `hidden_size ${C} is not divisible by num_attention_heads ${nHead}`);
  if (headSize != null && headSize !== C / nHead)
    throw unsupported(path, 'head_dim', headSize, `${C / nHead}, hidden_size / num_attention_heads`);
  const isSliding = modelType === 'mistral' || hf.use_sliding_window === true;
  if (isSliding && hf.sliding_window != null && hf.sliding_window < hf.max_position_embeddings) {
    throw unsupported(path, 'sliding_window', hf.sliding_window, 'null, since each token attends to all before it');
  }
  const otherLayer = hf.layer_types?.find((type) => type !== 'full_attention');
  if (otherLayer !== undefined) throw unsupported(path, 'layer_types', otherLayer, 'full_attention');
  const rotated = hf.rope_parameters?.['partial_rotary_factor'] ?? hf.partial_rotary_factor ?? 1;
  if (rotated !== 1) throw unsupported(path, 'partial_rotary_factor', rotated, '1');
  if (hf.mlp_bias && !hf.attention_bias)
    throw unsupported(path, 'mlp_bias', true, 'false, or true with attention_bias');
  if (hf.quantization_config != null) {
    throw unsupported(path, 'quantization_config', hf.quantization_config, 'weights in float32, float16 or bfloat16');
  }
}

/** The scaling of rope's wavelengths, as our key has it. */
function decodeScaling({ rope_parameters: parameters, rope_scaling: scaling }: HfConfig, path: string): number[] {
  const rope = parameters ?? scaling ?? {};
  const kind = rope.rope_type ?? rope.type ?? 'default';
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = rope;
  const numbers: (number | undefined)[] | undefined = {
    default: [],
    linear: [factor],
    llama3: [factor, low, high, original],
  }[kind];
  const key = parameters ? 'rope_parameters' : 'rope_scaling';
  if (numbers === undefined) throw unsupported(path, `${key}.rope_type`, kind, 'default, linear or llama3');
  if (numbers.includes(undefined)) throw damaged(path, `${key} lacks a number that ${kind} needs`);
  return numbers as number[];
}
