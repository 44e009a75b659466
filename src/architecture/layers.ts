/** Parts that several architectures declare: linear layers with adapters, layer norms, and the head. */
import { names } from '../base/keyTypes.ts';
import { labelsMax } from '../base/labelLimits.ts';
import { declareAdapter, isTarget, type Lora } from './lora.ts';
import type { Linear, Module } from './ops.ts';
import type { Declarations, MergedMatrices, ParameterSpec } from './parameters.ts';

/** The standard deviation of initial weights. */
export const std = 0.02;

/** The key of a model's classes. */
export const labelsKey = names({
  max: labelsMax,
  doc: 'Names of the classes of a classification head, in order, which replaces the output projection; one name is a score, as of a reward model. [] is a language model. A run may add them to the weights of `from`.',
});

/** What a linear layer is, apart from its name. */
export interface LinearOptions {
  readonly inputs: number;
  readonly outputs: number;
  readonly bias: boolean;
  /** The adapters of the model, which this layer has if they name it. */
  readonly lora: Lora | undefined;
  /** Standard deviation of the initial weight. Default {@link std}. */
  readonly weightStd?: number;
  /** The weight is [outputs, inputs]. */
  readonly weightTransposed?: boolean;
  /** The outputs of each of the layers that are merged in this one. Default: it is one layer. */
  readonly merged?: readonly number[];
}

/** Declares a linear layer of a block with this name. */
export function declareLinear(
  declare: Declarations,
  name: string,
  { inputs, outputs, bias, lora, weightStd = std, weightTransposed = false, merged = [outputs] }: LinearOptions,
): Linear {
  const inside = declare.in(name);
  const isAdapted = lora && isTarget(name, lora.loraTargets);
  const adapter = isAdapted ? declareAdapter(inside, { inputs, outputs, weightTransposed }, lora) : undefined;
  const shape = weightTransposed ? [outputs, inputs] : [inputs, outputs];
  const matrices: MergedMatrices = { axis: weightTransposed ? 0 : 1, lengths: merged };
  return {
    weight: inside.parameter('weight', shape, { std: weightStd }, { adapter, matrices }),
    bias: bias ? inside.parameter('bias', [outputs], { constant: 0 }) : undefined,
    ...(weightTransposed && { weightTransposed }),
  };
}

/** Declares a layer norm of rows with `width` elements. */
export function declareLayerNorm(
  declare: Declarations,
  { width, bias, eps }: { readonly width: number; readonly bias: boolean; readonly eps: number },
): Module {
  const norm = {
    weight: declare.parameter('weight', [width], { constant: 1 }),
    bias: bias ? declare.parameter('bias', [width], { constant: 0 }) : undefined,
  };
  return (ops, x) => ops.layerNorm(x, norm, eps);
}

/** What the head of a model computes with, and for what. */
interface Head {
  readonly head: Linear;
  readonly labels?: readonly string[];
}

/**
 * Declares the head after hidden states of `width` channels: `score` for labels, otherwise the token embedding or `lm_head`. A head of
 * labels is trained also where other weights are only adapted.
 * @param base the declarations of the other weights
 */
export function declareHead(
  declare: Declarations,
  base: Declarations,
  {
    labels = [],
    tiedHead,
    embedding,
  }: { readonly labels?: readonly string[] | undefined; readonly tiedHead: boolean; readonly embedding: ParameterSpec },
): Head {
  const [vocabSize, width] = embedding.shape as [number, number];
  const declareIn = (into: Declarations, part: string, outputs: number) =>
    into.in(part, { fromEnd: 0, isHead: true }).parameter('weight', [outputs, width], { std });
  if (labels.length > 0) {
    return { head: { weight: declareIn(declare, 'score', labels.length), weightTransposed: true }, labels };
  }
  return { head: { weight: tiedHead ? embedding : declareIn(base, 'lm_head', vocabSize), weightTransposed: true } };
}

/** The classes of a model, for its summary; empty for a language model. */
export function labelsSummary(labels: readonly string[] = []): string {
  return labels.length > 0 ? `, labels ${labels.join(', ')}` : '';
}

/** Each block adds two branches to the residual stream; this keeps the stream's variance independent of depth (GPT-2). */
export function residualStd(nLayer: number): number {
  return std / Math.sqrt(2 * nLayer);
}
