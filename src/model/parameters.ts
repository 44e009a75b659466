/**
 * What parameters a GPT has: names, shapes and order. Names are those that Hugging Face's
 * GPT2LMHeadModel saves, so a checkpoint is readable as it is. No tensor is allocated here.
 *
 * V vocabulary, C nEmbd.
 */
import { checkModelConfig, type ModelConfig } from './config.ts';

/** All alike. */
export interface ConstantInit {
  /** Of every element. */
  readonly constant: number;
}

/** Normal, mean 0. */
export interface NormalInit {
  /** Standard deviation. */
  readonly std: number;
}

/** What is known of a parameter before it has memory. */
export interface ParameterSpec {
  /** Hugging Face's: `transformer.h.0.attn.c_attn.weight`. */
  readonly name: string;
  /** As Hugging Face saves it: linear layers (inputs, outputs). */
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  /** Whether AdamW's weight decay applies: matrices only, never biases or layer norms. */
  readonly decay: boolean;
  /** Initial values: a constant, or normal with this standard deviation. */
  readonly init: ConstantInit | NormalInit;
}

/**
 * Every parameter, in the order in which the backward pass finishes their gradients: the head, the last layer, …, the
 * first layer, the embeddings. So the gradients of a bucket, a range of this list, become final together.
 */
export function parameterSpecs(config: ModelConfig): ParameterSpec[] {
  checkModelConfig(config);
  const { vocabSize: V, nEmbd: C, nLayer, bias } = config;
  const std = 0.02;
  // Each layer adds two branches to the residual stream; this keeps the stream's variance independent of depth (GPT-2).
  const residualStd = std / Math.sqrt(2 * nLayer);

  const specs: ParameterSpec[] = [];
  const push = (name: string, shape: number[], init: ParameterSpec['init']): void => {
    const size = shape.reduce((product, n) => product * n, 1);
    specs.push({ name, shape, size, decay: shape.length >= 2, init });
  };
  const pushLinear = (name: string, inputs: number, outputs: number, weightStd: number): void => {
    push(`${name}.weight`, [inputs, outputs], { std: weightStd });
    if (bias) push(`${name}.bias`, [outputs], { constant: 0 });
  };
  const pushLayerNorm = (name: string): void => {
    push(`${name}.weight`, [C], { constant: 1 });
    if (bias) push(`${name}.bias`, [C], { constant: 0 });
  };

  if (!config.tiedHead) push('lm_head.weight', [V, C], { std });
  pushLayerNorm('transformer.ln_f');
  for (let layer = nLayer - 1; layer >= 0; layer--) {
    const h = `transformer.h.${layer}`;
    pushLinear(`${h}.mlp.c_proj`, 4 * C, C, residualStd);
    pushLinear(`${h}.mlp.c_fc`, C, 4 * C, std);
    pushLayerNorm(`${h}.ln_2`);
    pushLinear(`${h}.attn.c_proj`, C, C, residualStd);
    pushLinear(`${h}.attn.c_attn`, C, 3 * C, std);
    pushLayerNorm(`${h}.ln_1`);
  }
  push('transformer.wpe.weight', [config.blockSize, C], { std });
  push('transformer.wte.weight', [V, C], { std });
  return specs;
}

/** Trainable numbers in the whole model, a tied head counted once. */
export function parameterCount(config: ModelConfig): number {
  return parameterSpecs(config).reduce((sum, spec) => sum + spec.size, 0);
}
