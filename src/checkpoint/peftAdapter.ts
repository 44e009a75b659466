/**
 * Adapters in the format of Hugging Face's PEFT (https://huggingface.co/docs/peft/developer_guides/checkpoint), both ways: `adapter_config.json`
 * and the names of tensors. A folder holds A and B, and possibly a classification head; the model's other weights are in the folder of its
 * base. What an adapter of PEFT may have and Lockstep does not compute is refused by name, never ignored.
 */
import { z } from 'zod';
import { gpt2LoraTargets, type Lora, transformerLoraTargets } from '../architecture/lora.ts';
import type { ModelConfig } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import { partsOf } from './modelConfig.ts';
import type { TensorShape } from './safetensors.ts';

export const ADAPTER_CONFIG_FILE = 'adapter_config.json';
export const ADAPTER_FILE = 'adapter_model.safetensors';

const TENSOR_PREFIX = 'base_model.model.';
const HEAD = 'score';

const adapterSchema = z.object({
  peft_type: z.string(),
  task_type: z.string().nullish(),
  base_model_name_or_path: z.string().max(4096).nullish(),
  r: z.number().int().min(1).max(65_536),
  lora_alpha: z.number().min(0).max(1e6),
  lora_dropout: z.number().min(0).max(1).default(0),
  target_modules: z.union([z.string(), z.array(z.string())]).nullish(),
  modules_to_save: z.array(z.string()).nullish(),
  fan_in_fan_out: z.boolean().default(false),
});

/** Keys that change what an adapter computes, and the values with which they do not. Null and an empty list or object are always such. */
const ineffective: Readonly<Record<string, unknown>> = {
  bias: 'none',
  use_dora: false,
  use_rslora: false,
  use_qalora: false,
  use_bdlora: false,
  lora_bias: false,
  rank_pattern: {},
  alpha_pattern: {},
  layers_to_transform: null,
  layer_replication: null,
  exclude_modules: null,
  trainable_token_indices: null,
  target_parameters: null,
  alora_invocation_tokens: null,
  arrow_config: null,
  kasa_config: null,
  monteclora_config: null,
  velora_config: null,
};

/** The architectures whose adapters PEFT can hold. */
export const adaptedArchitectures = ['gpt2', 'transformer'] as const;
type Adapted = (typeof adaptedArchitectures)[number];

/** PEFT's names of the layers that each of our names stands for. Lockstep has one adapter where it merges layers, PEFT one for each. */
const modulesOf: Readonly<Record<Adapted, Readonly<Record<string, readonly string[]>>>> = {
  gpt2: Object.fromEntries(gpt2LoraTargets.map((name) => [name, [name]])),
  transformer: {
    ...Object.fromEntries(transformerLoraTargets.map((name) => [name, [name]])),
    qkv_proj: ['q_proj', 'k_proj', 'v_proj'],
    gate_up_proj: ['gate_proj', 'up_proj'],
    // The first layer of an MLP without a gate, which no Llama has.
    up_proj: [],
  },
};

/** Whether the weights of a layer are [inputs, outputs] there, as in GPT-2's Conv1D. */
const fanInFanOut: Readonly<Record<Adapted, boolean>> = { gpt2: true, transformer: false };

/** What an `adapter_config.json` says. */
export interface PeftAdapter {
  readonly lora: Lora;
  /** Whether the head `score` comes with the adapter. */
  readonly isClassifier: boolean;
  /** Dropout of the adapter's input in training, which Lockstep does not have. */
  readonly dropout: number;
}

/** The base in a parsed `adapter_config.json`, as it is written there: a path, or the name of a published model. @throws UserError for no text */
export function baseOfAdapter(json: Readonly<Record<string, unknown>>, path: string): string | undefined {
  const result = adapterSchema.shape.base_model_name_or_path.safeParse(json['base_model_name_or_path']);
  if (result.success) return result.data || undefined;
  throw damaged(path, `base_model_name_or_path: ${result.error.issues[0]?.message}`);
}

/**
 * Reads a parsed `adapter_config.json`.
 * @param architecture that of the base
 * @throws UserError for anything that Lockstep does not compute
 */
export function decodeAdapterConfig(
  json: Readonly<Record<string, unknown>>,
  path: string,
  architecture: Adapted,
): PeftAdapter {
  const unsupported = (key: string, came: unknown, expected: string) =>
    new UserError(
      `${path}: ${key} is ${JSON.stringify(came).slice(0, 300)}, which is not supported: expected ${expected}`,
    );
  const result = adapterSchema.safeParse(json);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw damaged(path, `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const peft = result.data;
  if (peft.peft_type !== 'LORA') throw unsupported('peft_type', peft.peft_type, 'LORA');
  for (const [key, value] of Object.entries(ineffective)) {
    if (!isIneffective(json[key], value)) throw unsupported(key, json[key], JSON.stringify(value));
  }
  if (peft.fan_in_fan_out !== fanInFanOut[architecture]) {
    const expected =
      architecture === 'gpt2' ? 'true, as for the Conv1D layers of GPT-2' : 'false, as for linear layers';
    throw unsupported('fan_in_fan_out', peft.fan_in_fan_out, expected);
  }
  const task = peft.task_type ?? 'CAUSAL_LM';
  if (task !== 'CAUSAL_LM' && task !== 'SEQ_CLS') throw unsupported('task_type', task, 'CAUSAL_LM or SEQ_CLS');
  const isClassifier = task === 'SEQ_CLS';
  // PEFT adds both names of heads, whichever the model has.
  const saved = (peft.modules_to_save ?? []).find((name) => !(isClassifier && [HEAD, 'classifier'].includes(name)));
  if (saved !== undefined)
    throw unsupported('modules_to_save', peft.modules_to_save, isClassifier ? `["${HEAD}"]` : 'null');
  const targets = [peft.target_modules ?? []].flat();
  // PEFT writes a set, in any order.
  const all = Object.entries(modulesOf[architecture]).filter(([, modules]) => modules.length > 0);
  const known = all.filter(([, modules]) => modules.every((name) => targets.includes(name)));
  if (known.length === 0 || known.flatMap(([, modules]) => modules).length < new Set(targets).size) {
    const expected = all.map(([, modules]) => modules.join(' with ')).join(', ');
    throw unsupported('target_modules', peft.target_modules, `a list of ${expected}`);
  }
  return {
    lora: { loraRank: peft.r, loraAlpha: peft.lora_alpha, loraTargets: known.map(([name]) => name) },
    isClassifier,
    dropout: peft.lora_dropout,
  };
}

function isIneffective(came: unknown, value: unknown): boolean {
  if (came === undefined || came === null) return true;
  if (typeof came === 'object' && Object.keys(came).length === 0) return true;
  return came === value;
}

/** The text of `adapter_config.json`. @param base the folder or published name of the weights that the adapter is for */
export function encodeAdapterConfig(
  config: Lora,
  base: string,
  { architecture, isClassifier }: { readonly architecture: Adapted; readonly isClassifier: boolean },
): string {
  const json = {
    base_model_name_or_path: base,
    bias: 'none',
    fan_in_fan_out: fanInFanOut[architecture],
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: config.loraAlpha,
    lora_dropout: 0,
    modules_to_save: isClassifier ? [HEAD] : null,
    peft_type: 'LORA',
    r: config.loraRank,
    target_modules: config.loraTargets.flatMap((name) => modulesOf[architecture][name] ?? []),
    task_type: isClassifier ? 'SEQ_CLS' : 'CAUSAL_LM',
    use_dora: false,
    use_rslora: false,
  };
  return `${JSON.stringify(json, undefined, 2)}\n`;
}

/** A or B of an adapter: the layer, and which of the two. */
const factor = /^(.*)\.(lora_[AB]\.weight)$/;

/**
 * The tensors of a parameter in PEFT's file. The adapter of merged layers has one A, which is that of each layer there, and the rows of its B are those of
 * one layer after another.
 */
export function peftTensors(parameter: TensorShape, config: ModelConfig): TensorShape[] {
  return modulesHolding(parameter, config).map(({ name, shape }) => ({ name: `${TENSOR_PREFIX}${name}`, shape }));
}

/** {@link peftTensors} without PEFT's prefix. */
export function modulesHolding({ name, shape }: TensorShape, config: ModelConfig): TensorShape[] {
  const [, layer, which] = factor.exec(name) ?? [];
  if (layer === undefined) return [{ name, shape }];
  return partsOf({ name: `${layer}.weight`, shape }, config).map((part) => ({
    name: `${part.name.slice(0, -'weight'.length)}${which}`,
    shape: which === 'lora_A.weight' ? shape : part.shape,
  }));
}

/** The parameter with this name in PEFT's file. @throws UserError if it is not a name of PEFT's */
export function parameterOfPeft(name: string, path: string): string {
  if (name.startsWith(TENSOR_PREFIX)) return name.slice(TENSOR_PREFIX.length);
  throw new UserError(
    `${path} has tensor ${JSON.stringify(name.slice(0, 200))}: expected a name that begins with ${TENSOR_PREFIX}`,
  );
}
