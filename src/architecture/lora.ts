/**
 * LoRA (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, https://arxiv.org/abs/2106.09685): keys and declarations of
 * low-rank additions to linear layers. The weights themselves are frozen, unless the run names them. Rationale: docs/decisions/lora.md.
 */
import { choices, real, whole } from '../base/keyTypes.ts';
import type { Adapter, Declarations } from './parameters.ts';

/** Names of linear layers of GPT-2, as in PEFT's `target_modules`. */
export const gpt2LoraTargets = ['c_attn', 'c_proj', 'attn.c_proj', 'c_fc', 'mlp.c_proj'] as const;
/** Those of a transformer. PEFT has the parts of merged layers: q_proj, k_proj and v_proj for qkv_proj. */
export const transformerLoraTargets = ['qkv_proj', 'o_proj', 'gate_up_proj', 'up_proj', 'down_proj'] as const;

/** Those of an encoder–decoder: q_proj and kv_proj are those of attention to the source. */
export const encoderDecoderLoraTargets = ['qkv_proj', 'q_proj', 'kv_proj', 'out_proj', 'fc1', 'fc2'] as const;

/** What adapters adapt by default, by architecture. */
const defaultTargets: Readonly<Record<string, string>> = {
  gpt2: gpt2LoraTargets[0],
  transformer: transformerLoraTargets[0],
  encoderDecoder: encoderDecoderLoraTargets[0],
};

/**
 * The keys of a model that can have adapters.
 * @param targets names of its linear layers; the first is adapted by default
 * @param doc more about the names, for the documentation of the config
 */
export function loraKeys<const T extends readonly [string, ...string[]]>(targets: T, doc: string) {
  return {
    loraRank: whole({
      default: 0,
      max: 65_536,
      doc: 'Rank r of LoRA: the layers of loraTargets compute with W + loraAlpha / r · (B·A)ᵀ, and only A [r, inputs] and B [outputs, r] are trained. 0 disables LoRA. A run may add it to the weights of `from`.',
    }),
    loraAlpha: real({
      default: 16,
      min: 0,
      max: 1e6,
      doc: 'Scale of what LoRA adds, multiplied by 1 / loraRank.',
    }),
    loraTargets: choices(targets, {
      default: [targets[0] as T[number]],
      doc: `Linear layers that LoRA adapts, in every block. ${doc}`,
    }),
  };
}

/** What the adapters of a model are. */
export interface Lora {
  readonly loraRank: number;
  readonly loraAlpha: number;
  readonly loraTargets: readonly string[];
}

/** The keys of a model, in which those of adapters may be missing. */
export type MaybeLora = { readonly architecture: string } & Partial<Lora>;

/** The adapters of a model; undefined if it has none. */
export function loraOf({ architecture, loraRank = 0, loraAlpha = 16, loraTargets }: MaybeLora): Lora | undefined {
  if (loraRank === 0) return undefined;
  return { loraRank, loraAlpha, loraTargets: loraTargets ?? [defaultTargets[architecture] ?? []].flat() };
}

/** The model that remains when adapters are added to their weights. */
export function withoutLora<Config extends MaybeLora>(config: Config): Config {
  const { loraRank: _, loraAlpha: __, loraTargets: ___, ...others } = config;
  return others as Config;
}

/** What the adapters are, for the summary of a model; empty without any. */
export function loraSummary(config: MaybeLora): string {
  const lora = loraOf(config);
  if (lora === undefined) return '';
  return `, LoRA of rank ${lora.loraRank} and alpha ${lora.loraAlpha} on ${lora.loraTargets.join(', ')}`;
}

/** Whether `targets` name this layer: `c_proj` and `attn.c_proj` both name `attn.c_proj`. */
export function isTarget(layer: string, targets: readonly string[]): boolean {
  return targets.some((target) => layer === target || layer.endsWith(`.${target}`));
}

/**
 * Declares the adapter of a weight [inputs, outputs] or its transpose: A normal with the variance 1 / (3 · inputs) of PyTorch's linear layers, which PEFT
 * uses too, and B zero, so that the first step computes with the weight itself.
 */
export function declareAdapter(
  declare: Declarations,
  {
    inputs,
    outputs,
    weightTransposed,
  }: { readonly inputs: number; readonly outputs: number; readonly weightTransposed: boolean },
  { loraRank: rank, loraAlpha: alpha }: Lora,
): Adapter {
  const factors = declare.marked({ isAdapter: true, trainable: true });
  return {
    a: factors.parameter('lora_A.weight', [rank, inputs], { std: 1 / Math.sqrt(3 * inputs) }),
    b: factors.parameter('lora_B.weight', [outputs, rank], { constant: 0 }),
    scale: alpha / rank,
    ...(weightTransposed && { weightTransposed }),
  };
}
