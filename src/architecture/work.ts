/**
 * The number of floating-point operations of a training step. A multiply-add of forward counts 2, the gradient of its input
 * 2 more, and the gradient of its parameter another 2, if these are needed.
 *
 * A forward pass over values that only count determines the number of multiply-adds. Each weight of a matrix product has one per token;
 * attention has those of its causal half, and attention to a source those of the complete source. What an adapter needs for each update, and not for each token, does not count either. Biases, norms, rotations, activations and table lookups do not count. Operations that are computed
 * twice, like attention's scores, count once.
 */
import type { Network } from './architecture.ts';
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
 * @param sourceLength that of each source, in an encoder–decoder
 */
export function phaseFlops(
  model: ModelConfig,
  tokens: number,
  trainable: Trainable = 'all',
  length: number = model.blockSize,
  sourceLength: number = length,
): PhaseFlops {
  const { forward, backward } = workOfToken(networkOf(model), isTrainedBy(trainable), { length, sourceLength });
  return { forward: tokens * forward, backward: tokens * backward };
}

/** The sum of `phaseFlops`. */
export function stepFlops(
  model: ModelConfig,
  tokens: number,
  trainable: Trainable = 'all',
  length: number = model.blockSize,
  sourceLength: number = length,
): number {
  const { forward, backward } = phaseFlops(model, tokens, trainable, length, sourceLength);
  return forward + backward;
}

/** Floating-point operations of forward passes without gradients. */
export interface ForwardWork {
  /** Those of passes over `tokens` tokens, in complete sequences of `length`. */
  complete(tokens: number, length: number): number;
  /** Those of `tokens` tokens that continue sequences, one by one: each attends to `keys` tokens, on average. */
  continued(tokens: number, keys: number): number;
}

/** The work of a model without an encoder, which is declared once for any number of counts. */
export function forwardWork(model: ModelConfig): ForwardWork {
  const network = networkOf(model);
  const forward = (length: number, keys?: number) =>
    workOfToken(network, () => false, { length, sourceLength: length, keys }).forward;
  return {
    complete: (tokens, length) => tokens * forward(length),
    continued: (tokens, keys) => tokens * forward(keys, keys),
  };
}

interface Lengths {
  readonly length: number;
  readonly sourceLength: number;
  /** Number of tokens to which one attends in causal attention. Default: the mean over a complete sequence, half of its length. */
  readonly keys?: number | undefined;
}

function workOfToken(network: Network, isTrained: IsTrained, { length, sourceLength, keys }: Lengths): PhaseFlops {
  const [target, source] = [{ shape: [1, length] }, { shape: [1, sourceLength] }];
  const pass = new CountedPass(isTrained, { target, source, keys: keys ?? length / 2 });
  const hidden = network.forward(pass, target, network.encode?.(pass, source));
  if (network.valueHead) pass.product(hidden, network.valueHead);
  const head = network.head && pass.product(hidden, network.head);
  return { forward: pass.forward + (head ?? 0), backward: pass.backward - (head ?? 0) };
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
  /** Rows for each token: 1, or the number of a source's tokens for one of the target. */
  readonly rows: number;
}

/** Counts the operations of a token. */
class CountedPass implements Ops<Counted> {
  forward = 0;
  backward = 0;
  readonly #isTrained: IsTrained;
  /** T and S: the lengths of the context and of its source. */
  readonly #length: number;
  readonly #sourceLength: number;
  readonly #source: Tokens;
  readonly #keys: number;

  constructor(
    isTrained: IsTrained,
    { target, source, keys }: { readonly target: Tokens; readonly source: Tokens; readonly keys: number },
  ) {
    this.#isTrained = isTrained;
    this.#length = target.shape[1]!;
    this.#sourceLength = source.shape[1]!;
    this.#source = source;
    this.#keys = keys;
  }

  embedding(tokens: Tokens, tokenTable: ParameterSpec, positionTable?: ParameterSpec): Counted {
    const tables = positionTable === undefined ? [tokenTable] : [tokenTable, positionTable];
    const rows = tokens === this.#source ? this.#sourceLength / this.#length : 1;
    return { width: tokenTable.shape[1]!, needsGrad: tables.some(this.#isTrained), rows };
  }

  layerNorm(x: Counted, norm: Affine): Counted {
    return { ...x, needsGrad: this.#reaches(x, norm) };
  }

  rmsNorm(x: Counted, norm: Affine): Counted {
    return this.layerNorm(x, norm);
  }

  rope(qkv: Counted): Counted {
    return qkv;
  }

  gated(x: Counted): Counted {
    return { ...x, width: x.width / 2 };
  }

  linear(x: Counted, layer: Linear, { residual }: AfterLinear<Counted> = {}): Counted {
    this.product(x, layer);
    const width = layer.weight.shape[layer.weightTransposed ? 0 : 1]!;
    return { ...x, width, needsGrad: this.#reaches(x, layer) || (residual?.needsGrad ?? false) };
  }

  attention(qkv: Counted, { nHead, nKvHead = nHead, bidirectional = false }: Attention): Counted {
    const width = (qkv.width * nHead) / (nHead + 2 * nKvHead);
    const result = { ...qkv, width };
    this.#attend(result, bidirectional ? this.#sourceLength : this.#keys);
    return result;
  }

  sourceAttention(q: Counted, memory: Counted, keyValues: Linear): Counted {
    const kv = this.linear(memory, keyValues);
    const result = { ...q, needsGrad: q.needsGrad || kv.needsGrad };
    this.#attend(result, this.#sourceLength);
    return result;
  }

  dropout(x: Counted): Counted {
    return x;
  }

  block(x: Counted, module: Module, memory?: Counted): Counted {
    return module(this, x, memory);
  }

  /** Counts attention of one query to this number of keys: their scores and the sum of their values, in each channel. */
  #attend({ width, rows, needsGrad }: Counted, keys: number): void {
    this.forward += 4 * rows * width * keys;
    if (needsGrad) this.backward += 8 * rows * width * keys;
  }

  /** Counts the operations of a product with x; returns those of backward. */
  product(x: Counted, { weight }: Linear): number {
    this.forward += 2 * x.rows * weight.size;
    const backward = 2 * x.rows * weight.size * (Number(x.needsGrad) + Number(this.#needsGradient(weight)));
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
