/**
 * The number of floating-point operations of a training step. A multiply-add of forward counts 2, the gradient of its input
 * 2 more, and the gradient of its parameter another 2, if these are needed.
 *
 * A forward pass over values that only count determines the number of multiply-adds. Each weight of a matrix product has one per token;
 * attention has those of its causal half. What an adapter needs for each update, and not for each token, does not count either. Biases, norms, rotations, activations and table lookups do not count. Operations that are computed
 * twice, like attention's scores, count once.
 */
import type { Affine, AfterLinear, Attention, Linear, Module, Ops, Tokens } from './ops.ts';
import type { IsTrained, ParameterSpec } from './parameters.ts';
import { architectureOf, type ModelConfig, networkOf } from './registry.ts';
import { isTrainedBy, type Trainable } from './trainable.ts';

/** Explains to people how `phaseFlops` counts. */
export const stepFlopFormula =
  "6 per token for each weight of a matrix product and each multiply-add of attention's causal half (2 forward, 4 backward); fewer if parameters are frozen";

export interface PhaseFlops {
  /** Includes the gradients of the head, which are computed with the loss. */
  readonly forward: number;
  readonly backward: number;
}

/**
 * Floating-point operations of both passes over `tokens` tokens.
 * @param length number of tokens in each sequence, or their mean
 */
export function phaseFlops(
  model: ModelConfig,
  tokens: number,
  trainable: Trainable = 'all',
  length: number = model.blockSize,
): PhaseFlops {
  const network = networkOf(model);
  const pass = new CountedPass(isTrainedBy(trainable));
  const hidden = network.forward(pass, { shape: [1, length] });
  if (network.valueHead) pass.product(hidden, network.valueHead);
  const head = network.head && pass.product(hidden, network.head);
  return { forward: tokens * (pass.forward + (head ?? 0)), backward: tokens * (pass.backward - (head ?? 0)) };
}

/** The sum of `phaseFlops`. */
export function stepFlops(
  model: ModelConfig,
  tokens: number,
  trainable: Trainable = 'all',
  length: number = model.blockSize,
): number {
  const { forward, backward } = phaseFlops(model, tokens, trainable, length);
  return forward + backward;
}

/** Bytes of the parameters read to generate a token. */
export function weightBytes(model: ModelConfig): number {
  return 4 * architectureOf(model).tokenWork(model, countWithoutAdapters(model)).parametersRead;
}

/** Maximum number of values that an evaluation holds per token. */
export function tokenActivations(model: ModelConfig): number {
  return architectureOf(model).tokenWork(model, countWithoutAdapters(model)).activations;
}

/** A product reads one matrix, to which the adapter has been added before. */
function countWithoutAdapters(model: ModelConfig): number {
  const { specs } = networkOf(model);
  return specs.reduce((sum, { size, isAdapter }) => (isAdapter ? sum : sum + size), 0);
}

/** A value of which only these properties are known. */
interface Counted {
  /** Its last dimension. */
  readonly width: number;
  /** Whether it depends on a trained parameter. */
  readonly needsGrad: boolean;
}

/** Counts the operations of a token. */
class CountedPass implements Ops<Counted> {
  forward = 0;
  backward = 0;
  readonly #isTrained: IsTrained;
  /** T: length of the context. */
  #length = 0;

  constructor(isTrained: IsTrained) {
    this.#isTrained = isTrained;
  }

  embedding(tokens: Tokens, tokenTable: ParameterSpec, positionTable?: ParameterSpec): Counted {
    this.#length = tokens.shape[1]!;
    const tables = positionTable === undefined ? [tokenTable] : [tokenTable, positionTable];
    return { width: tokenTable.shape[1]!, needsGrad: tables.some(this.#isTrained) };
  }

  layerNorm(x: Counted, norm: Affine): Counted {
    return { width: x.width, needsGrad: this.#reaches(x, norm) };
  }

  rmsNorm(x: Counted, norm: Affine): Counted {
    return this.layerNorm(x, norm);
  }

  rope(qkv: Counted): Counted {
    return qkv;
  }

  gated(x: Counted): Counted {
    return { width: x.width / 2, needsGrad: x.needsGrad };
  }

  linear(x: Counted, layer: Linear, { residual }: AfterLinear<Counted> = {}): Counted {
    this.product(x, layer);
    const width = layer.weight.shape[layer.weightTransposed ? 0 : 1]!;
    return { width, needsGrad: this.#reaches(x, layer) || (residual?.needsGrad ?? false) };
  }

  attention(qkv: Counted, { nHead, nKvHead = nHead }: Attention): Counted {
    const width = (qkv.width * nHead) / (nHead + 2 * nKvHead);
    // T/2 for a token's scores and T/2 for their sum, on average, in each channel.
    this.forward += 2 * width * this.#length;
    if (qkv.needsGrad) this.backward += 4 * width * this.#length;
    return { width, needsGrad: qkv.needsGrad };
  }

  dropout(x: Counted): Counted {
    return x;
  }

  block(x: Counted, module: Module): Counted {
    return module(this, x);
  }

  /** Counts the operations of a product with x; returns those of backward. */
  product(x: Counted, { weight }: Linear): number {
    this.forward += 2 * weight.size;
    const backward = 2 * weight.size * (Number(x.needsGrad) + Number(this.#needsGradient(weight)));
    this.backward += backward;
    return backward;
  }

  /** An adapter needs the gradient of the matrix that it adds to. */
  #needsGradient(weight: ParameterSpec): boolean {
    const { adapter } = weight;
    return [weight, ...(adapter ? [adapter.a, adapter.b] : [])].some(this.#isTrained);
  }

  #reaches(x: Counted, { weight, bias }: Affine): boolean {
    return x.needsGrad || this.#needsGradient(weight) || (bias !== undefined && this.#isTrained(bias));
  }
}
