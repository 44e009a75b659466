/**
 * The model's description in a checkpoint: Hugging Face's `config.json` for GPT-2
 * (https://huggingface.co/docs/transformers/model_doc/gpt2), both ways, and the tensors that such a model has. What that
 * format cannot say (a model without biases) is in our own key `lockstep`, which other readers ignore.
 * Not the model itself: this layer knows names and shapes only.
 */
import { z } from 'zod';
import {
  type ActivationKind,
  activationOfHuggingFace,
  huggingFaceActivation,
  huggingFaceActivations,
} from '../base/activations.ts';
import { UserError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import type { TensorShape } from './safetensors.ts';

/** The shape of a GPT, with the fields of `ModelConfig` in src/model/config.ts (layers may not import each other). */
export interface CheckpointModelConfig {
  readonly vocabSize: number;
  readonly blockSize: number;
  readonly nLayer: number;
  readonly nHead: number;
  readonly nEmbd: number;
  readonly dropout: number;
  readonly bias: boolean;
  readonly activation: ActivationKind;
  readonly tiedHead: boolean;
}

const stateKeys = ['nLayer', 'nHead', 'nEmbd', 'blockSize', 'vocabSize', 'bias', 'activation', 'tiedHead'] as const;

/** The first key in which two models differ so that neither can have the other's parameters; dropout is not among them. */
export function differingKey(
  one: CheckpointModelConfig,
  other: CheckpointModelConfig,
): (typeof stateKeys)[number] | undefined {
  return stateKeys.find((key) => one[key] !== other[key]);
}

const LAYER_NORM_EPSILON = 1e-5;
const GPT2_END_OF_TEXT = 50256;
const SUPPORTED = 'supported: GPT-2 (model_type "gpt2", architectures ["GPT2LMHeadModel"])';

/** The text of `config.json`; the same bytes for the same model, always. */
export function encodeModelConfig(config: CheckpointModelConfig): string {
  const endOfText = config.vocabSize > GPT2_END_OF_TEXT ? GPT2_END_OF_TEXT : null;
  const value = {
    architectures: ['GPT2LMHeadModel'],
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
    layer_norm_epsilon: LAYER_NORM_EPSILON,
    initializer_range: 0.02,
    tie_word_embeddings: config.tiedHead,
    bos_token_id: endOfText,
    eos_token_id: endOfText,
    torch_dtype: 'float32',
    lockstep: { version: 1, bias: config.bias },
  };
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

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
  layer_norm_epsilon: z.number().default(LAYER_NORM_EPSILON),
  tie_word_embeddings: z.boolean().default(true),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  add_cross_attention: z.boolean().default(false),
  lockstep: z.object({ version: z.number(), bias: z.boolean() }).optional(),
});

/**
 * Reads a parsed `config.json`. Dropout is the residual one; GPT-2's own configs have the same value three times.
 * @throws UserError when it describes another architecture, or a GPT-2 variant that this model does not compute
 */
export function decodeModelConfig(value: Record<string, unknown>, path: string): CheckpointModelConfig {
  const architectures = value['architectures'];
  const named = Array.isArray(architectures) ? architectures : [];
  // Headless exports ("GPT2Model") hold the same tensors; the head is the embedding.
  const known = named.every((name) => name === 'GPT2LMHeadModel' || name === 'GPT2Model');
  if (value['model_type'] !== 'gpt2' || !known) {
    const came = JSON.stringify({ model_type: value['model_type'], architectures }).slice(0, 300);
    throw new UserError(`${path} describes another architecture: ${came}; ${SUPPORTED}`);
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
  if (hf.layer_norm_epsilon !== LAYER_NORM_EPSILON) {
    throw unsupported('layer_norm_epsilon', hf.layer_norm_epsilon, `${LAYER_NORM_EPSILON}`);
  }
  if (!hf.scale_attn_weights) throw unsupported('scale_attn_weights', false, 'true');
  if (hf.scale_attn_by_inverse_layer_idx) throw unsupported('scale_attn_by_inverse_layer_idx', true, 'false');
  if (hf.add_cross_attention) throw unsupported('add_cross_attention', true, 'false');
  const activation = activationOfHuggingFace(hf.activation_function);
  if (activation === undefined) {
    throw unsupported('activation_function', hf.activation_function, huggingFaceActivations.join(' or '));
  }
  return {
    vocabSize: hf.vocab_size,
    blockSize: hf.n_positions,
    nLayer: hf.n_layer,
    nHead: hf.n_head,
    nEmbd: hf.n_embd,
    dropout: hf.resid_pdrop,
    bias: hf.lockstep?.bias ?? true,
    activation,
    tiedHead: hf.tie_word_embeddings,
  };
}

/** Name and shape of every tensor of a model of this config, as `GPT2LMHeadModel` saves it; in no particular order. */
export function expectedTensors(config: CheckpointModelConfig): Map<string, readonly number[]> {
  const { vocabSize: V, blockSize: T, nEmbd: C } = config;
  const tensors = new Map<string, readonly number[]>();
  const add = (module: string, weight: readonly number[], bias: number): void => {
    tensors.set(`${module}.weight`, weight);
    if (config.bias) tensors.set(`${module}.bias`, [bias]);
  };
  tensors.set('transformer.wte.weight', [V, C]);
  tensors.set('transformer.wpe.weight', [T, C]);
  for (let layer = 0; layer < config.nLayer; layer++) {
    const block = `transformer.h.${layer}`;
    add(`${block}.ln_1`, [C], C);
    add(`${block}.attn.c_attn`, [C, 3 * C], 3 * C);
    add(`${block}.attn.c_proj`, [C, C], C);
    add(`${block}.ln_2`, [C], C);
    add(`${block}.mlp.c_fc`, [C, 4 * C], 4 * C);
    add(`${block}.mlp.c_proj`, [4 * C, C], C);
  }
  add('transformer.ln_f', [C], C);
  if (!config.tiedHead) tensors.set('lm_head.weight', [V, C]);
  return tensors;
}

/** Buffers, not parameters, that older exports of GPT-2 carry: the causal mask and its fill value. */
const MASK_BUFFER = /^(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)$/;

/**
 * Checks the tensors of a file against the config and gives them our names: with the prefix `transformer.` (OpenAI's own
 * export lacks it), without mask buffers, without a copy of a tied head.
 * @returns our name → the file's entry
 * @throws UserError naming the tensor that is missing, of another shape, or unknown
 */
export function matchTensors<Entry extends TensorShape>(
  entries: readonly Entry[],
  config: CheckpointModelConfig,
  path: string,
): Map<string, Entry> {
  const expected = expectedTensors(config);
  const matched = new Map<string, Entry>();
  for (const entry of entries) {
    if (MASK_BUFFER.test(entry.name)) continue;
    if (entry.name === 'lm_head.weight' && config.tiedHead) continue;
    const prefixed = entry.name.startsWith('transformer.') || entry.name === 'lm_head.weight';
    const name = prefixed ? entry.name : `transformer.${entry.name}`;
    const shape = expected.get(name);
    if (shape === undefined) {
      throw new UserError(
        `${path} holds ${JSON.stringify(entry.name.slice(0, 200))}, which no model of its config.json has`,
      );
    }
    if (matched.has(name)) throw damaged(path, `tensor ${name} occurs twice, with and without its prefix`);
    if (shape.length !== entry.shape.length || shape.some((length, axis) => length !== entry.shape[axis])) {
      throw new UserError(`${path}: tensor ${name} has shape [${entry.shape}], but its config.json means [${shape}]`);
    }
    matched.set(name, entry);
  }
  for (const name of expected.keys()) {
    if (!matched.has(name)) throw new UserError(`${path} lacks tensor ${name}, which its config.json means`);
  }
  return matched;
}
