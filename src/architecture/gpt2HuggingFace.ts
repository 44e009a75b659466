/**
 * Hugging Face's format of a GPT-2 (https://huggingface.co/docs/transformers/model_doc/gpt2), both ways: `config.json`, and the names of
 * tensors, which are ours as `GPT2LMHeadModel` and `GPT2ForSequenceClassification` save them. The format cannot express that a model has no
 * biases. Its tensors show this, and so does our own key `lockstep`, which transformers keeps after adding biases.
 */
import { z } from 'zod';
import { activationOfHuggingFace, huggingFaceActivation, huggingFaceActivations } from '../base/activations.ts';
import { UserError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import type { HuggingFaceFormat } from './architecture.ts';
import { type Gpt2Config, layerNormEps } from './gpt2.ts';
import { decodeLabels, encodeLabels, labelFields } from './huggingFaceLabels.ts';
import { std } from './layers.ts';
import { loraOf } from './lora.ts';
import { hasValueHead } from './valueHead.ts';

/** GPT-2's vocabulary size; a folder with this number of tokens and no tokenizer files uses GPT-2's tokenizer. */
const GPT2_VOCABULARY = 50257;

const size = z
  .number()
  .int()
  .min(1)
  .max(2 ** 31);
const probability = z.number().min(0).lt(1);
const hfConfigSchema = z.object({
  n_layer: z.number().int().min(1).max(10_000),
  n_head: size,
  n_embd: size,
  n_positions: size,
  vocab_size: size,
  n_inner: z.number().nullish(),
  activation_function: z.string().default('gelu_new'),
  resid_pdrop: probability.default(0.1),
  layer_norm_epsilon: z.number().default(layerNormEps),
  tie_word_embeddings: z.boolean().default(true),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  add_cross_attention: z.boolean().default(false),
  ...labelFields,
  lockstep: z.object({ version: z.number(), bias: z.boolean() }).optional(),
});

/** The classes that save a model with and without a classification head. Headless exports have the tensors of a tied head. */
const CLASSIFIER = 'GPT2ForSequenceClassification';
const LANGUAGE_MODELS = ['GPT2LMHeadModel', 'GPT2Model'];

/** Buffers that older exports of GPT-2 contain, not parameters: the causal mask and its fill value. */
const MASK_BUFFER = /^(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)$/;

const HEADS = ['lm_head.weight', 'score.weight', 'value.weight'];

export const gpt2HuggingFace: HuggingFaceFormat<Gpt2Config> = {
  modelTypes: ['gpt2'],
  encode: encodeConfig,
  decode: decodeConfig,
  ofTensors: (config, names) => ({
    ...config,
    bias: names.some((name) => name.endsWith('.bias') && !MASK_BUFFER.test(name)),
  }),
  /** OpenAI's own export lacks the prefix `transformer.`; a tied head may be stored twice. */
  tensorName(name, { tiedHead }) {
    if (MASK_BUFFER.test(name) || (name === 'lm_head.weight' && tiedHead)) return undefined;
    return name.startsWith('transformer.') || HEADS.includes(name) ? name : `transformer.${name}`;
  },
  tokenizer: ({ vocabSize }) => (vocabSize >= GPT2_VOCABULARY ? 'gpt2' : undefined),
};

/** Without an id the keys are null, not absent: absent keys would mean GPT-2's own id, 50256. */
function encodeConfig(config: Gpt2Config, endOfText: number | undefined): Record<string, unknown> | undefined {
  // transformers would load the weights and ignore the adapters and the value head.
  if (loraOf(config) !== undefined || hasValueHead(config)) return undefined;
  const { labels = [] } = config;
  return {
    architectures: [labels.length > 0 ? CLASSIFIER : LANGUAGE_MODELS[0]],
    model_type: 'gpt2',
    n_layer: config.nLayer,
    n_head: config.nHead,
    n_embd: config.nEmbd,
    n_positions: config.blockSize,
    n_ctx: config.blockSize,
    vocab_size: config.vocabSize,
    activation_function: huggingFaceActivation(config.activation),
    resid_pdrop: config.dropout,
    attn_pdrop: config.dropout,
    embd_pdrop: config.dropout,
    layer_norm_epsilon: layerNormEps,
    initializer_range: std,
    tie_word_embeddings: config.tiedHead,
    bos_token_id: endOfText ?? null,
    eos_token_id: endOfText ?? null,
    ...(labels.length > 0 && encodeLabels(labels, endOfText)),
    torch_dtype: 'float32',
    lockstep: { version: 1, bias: config.bias },
  };
}

/** Reads the residual dropout; GPT-2's own configs have the same value three times. */
function decodeConfig(value: Readonly<Record<string, unknown>>, path: string): Gpt2Config {
  const architectures = value['architectures'];
  const named = Array.isArray(architectures) ? architectures : [];
  const isClassifier = named.includes(CLASSIFIER);
  if (!named.every((name) => (isClassifier ? name === CLASSIFIER : LANGUAGE_MODELS.includes(name)))) {
    throw new UserError(
      `${path} describes another architecture: ${JSON.stringify(architectures).slice(0, 300)}; expected architectures ["GPT2LMHeadModel"] or ["${CLASSIFIER}"]`,
    );
  }
  const result = hfConfigSchema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw damaged(path, `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const hf = result.data;
  const unsupported = (key: string, came: unknown, supported: string): UserError =>
    new UserError(`${path}: ${key} is ${JSON.stringify(came)}, which is not supported: expected ${supported}`);
  if (hf.lockstep !== undefined && hf.lockstep.version !== 1) {
    throw unsupported('lockstep.version', hf.lockstep.version, '1 (a newer Lockstep wrote this)');
  }
  if (hf.n_embd % hf.n_head !== 0) throw damaged(path, `n_embd ${hf.n_embd} is not divisible by n_head ${hf.n_head}`);
  if (hf.n_inner != null && hf.n_inner !== 4 * hf.n_embd) throw unsupported('n_inner', hf.n_inner, `${4 * hf.n_embd}`);
  if (hf.layer_norm_epsilon !== layerNormEps) {
    throw unsupported('layer_norm_epsilon', hf.layer_norm_epsilon, `${layerNormEps}`);
  }
  if (!hf.scale_attn_weights) throw unsupported('scale_attn_weights', false, 'true');
  if (hf.scale_attn_by_inverse_layer_idx) throw unsupported('scale_attn_by_inverse_layer_idx', true, 'false');
  if (hf.add_cross_attention) throw unsupported('add_cross_attention', true, 'false');
  const activation = activationOfHuggingFace(hf.activation_function);
  if (activation === undefined) {
    throw unsupported('activation_function', hf.activation_function, huggingFaceActivations.join(' or '));
  }
  return {
    architecture: 'gpt2',
    vocabSize: hf.vocab_size,
    blockSize: hf.n_positions,
    nLayer: hf.n_layer,
    nHead: hf.n_head,
    nEmbd: hf.n_embd,
    dropout: hf.resid_pdrop,
    bias: hf.lockstep?.bias ?? true,
    activation,
    tiedHead: hf.tie_word_embeddings,
    labels: isClassifier ? decodeLabels(hf, path) : [],
  };
}
