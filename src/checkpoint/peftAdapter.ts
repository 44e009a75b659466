/**
 * Adapters in the format of Hugging Face's PEFT (https://huggingface.co/docs/peft/developer_guides/checkpoint), both ways: `adapter_config.json`
 * and the names of tensors. A folder holds A and B, and possibly a classification head; the model's other weights are in the folder of its
 * base. What an adapter of PEFT may have and Lockstep does not compute is refused by name, never ignored.
 */
import { z } from 'zod';
import { gpt2LoraTargets, type Lora } from '../architecture/lora.ts';
import { UserError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';

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

/** What an `adapter_config.json` says. */
export interface PeftAdapter {
  readonly lora: Lora;
  /** As it is written there: a path, or the name of a published model. */
  readonly base: string | undefined;
  /** Whether the head `score` comes with the adapter. */
  readonly isClassifier: boolean;
  /** Dropout of the adapter's input in training, which Lockstep does not have. */
  readonly dropout: number;
}

/** Reads a parsed `adapter_config.json`. @throws UserError for anything that Lockstep does not compute */
export function decodeAdapterConfig(json: Readonly<Record<string, unknown>>, path: string): PeftAdapter {
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
  if (!peft.fan_in_fan_out) throw unsupported('fan_in_fan_out', false, 'true, as for the Conv1D layers of GPT-2');
  const task = peft.task_type ?? 'CAUSAL_LM';
  if (task !== 'CAUSAL_LM' && task !== 'SEQ_CLS') throw unsupported('task_type', task, 'CAUSAL_LM or SEQ_CLS');
  const isClassifier = task === 'SEQ_CLS';
  // PEFT adds both names of heads, whichever the model has.
  const saved = (peft.modules_to_save ?? []).find((name) => !(isClassifier && [HEAD, 'classifier'].includes(name)));
  if (saved !== undefined)
    throw unsupported('modules_to_save', peft.modules_to_save, isClassifier ? `["${HEAD}"]` : 'null');
  const targets = [peft.target_modules ?? []].flat();
  // PEFT writes a set, in any order.
  const known = gpt2LoraTargets.filter((name) => targets.includes(name));
  if (known.length === 0 || known.length < new Set(targets).size) {
    throw unsupported('target_modules', peft.target_modules, `a list of ${gpt2LoraTargets.join(', ')}`);
  }
  return {
    lora: { loraRank: peft.r, loraAlpha: peft.lora_alpha, loraTargets: known },
    base: peft.base_model_name_or_path || undefined,
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
export function encodeAdapterConfig(config: Lora, base: string, isClassifier: boolean): string {
  const json = {
    base_model_name_or_path: base,
    bias: 'none',
    fan_in_fan_out: true,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: config.loraAlpha,
    lora_dropout: 0,
    modules_to_save: isClassifier ? [HEAD] : null,
    peft_type: 'LORA',
    r: config.loraRank,
    target_modules: config.loraTargets,
    task_type: isClassifier ? 'SEQ_CLS' : 'CAUSAL_LM',
    use_dora: false,
    use_rslora: false,
  };
  return `${JSON.stringify(json, undefined, 2)}\n`;
}

/** PEFT's name of a parameter. */
export function peftName(name: string): string {
  return `${TENSOR_PREFIX}${name}`;
}

/** The parameter with this name in PEFT's file. @throws UserError if it is not a name of PEFT's */
export function parameterOfPeft(name: string, path: string): string {
  if (name.startsWith(TENSOR_PREFIX)) return name.slice(TENSOR_PREFIX.length);
  throw new UserError(
    `${path} has tensor ${JSON.stringify(name.slice(0, 200))}: expected a name that begins with ${TENSOR_PREFIX}`,
  );
}
