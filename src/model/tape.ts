/**
 * The tape: runs the engine's forward kernels and records each with its backward, which `backward` replays in reverse (recording.ts). The files
 * in operations/ have one family of operations each; this one offers them, and decides what is kept for backward. It knows no architecture
 * (model.ts) and no optimizer (training.ts).
 *
 * A checkpoint keeps only its inputs and outputs; its backward first runs its forward again (Chen et al., "Training
 * Deep Nets with Sublinear Memory Cost", 2016, https://arxiv.org/abs/1604.06174).
 *
 * With precision bf16, products read and write bfloat16, as do their gradients: the results of layer norms, of
 * linear layers without a residual, and of attention. The residual stream, its gradient and all statistics stay float32. If a
 * bfloat16 variable has several uses, each adds to its gradient in float32 and rounds the sum.
 *
 * With precision f16, linear layers and the head round their factors to float16; everything else is float32.
 */
import type { ActivationKind } from '../base/activations.ts';
import { invariant } from '../base/errors.ts';
import type { AttentionHeads, CachedKeys, KeyRanges } from '../engine/attentionOptions.ts';
import type { Dropout } from '../engine/dropout.ts';
import type { Engine } from '../engine/engine.ts';
import type { HostArray, Shape, Tensor } from '../engine/tensor.ts';
import type { Precision } from './computing.ts';
import { attention, attentionDecode, crossAttention, crossAttentionDecode } from './operations/attention.ts';
import { dropout as drop, gated, rope } from './operations/elementwise.ts';
import { embedding, embeddingEach, lastRow, storeSource } from './operations/embeddings.ts';
import { linear } from './operations/linear.ts';
import { crossEntropy, type Head, type LossGradient, linearCrossEntropy } from './operations/losses.ts';
import { layerNorm, rmsNorm } from './operations/norms.ts';
import { type Products, productsOf } from './operations/products.ts';
import type { Parameter } from './parameter.ts';
import { needsGrad, Recording, type Seed } from './recording.ts';
import { type Affine, type EmbeddingOptions, type LinearLayer, type Rotation, save, Variable } from './variable.ts';

/** Runs one or more operations on x and the other inputs, and returns the result of the last one. */
export type CheckpointBody = (tape: Tape, x: Variable, ...others: Variable[]) => Variable;

/** Records operations as they are computed, and computes their gradients in reverse: one microbatch, forward and backward. */
export class Tape {
  readonly #engine: Engine;
  readonly #recording: Recording;
  readonly #precision: Precision;
  readonly #products: Products;
  /** The operation whose result is already known: a linear layer at this place is recorded but not computed. */
  #knownAt: number | undefined;

  /**
   * @param precision the type that matrix products read; bf16 and f16 need an engine that supports them
   * @param recording for internal use
   */
  constructor(engine: Engine, precision: Precision = 'float32', recording = new Recording(engine)) {
    this.#engine = engine;
    this.#recording = recording;
    this.#precision = precision;
    this.#products = productsOf(precision);
  }

  /** Uploads an input: int32, float32, or bfloat16 in a Uint16Array. Valid until `discard`. */
  upload(data: HostArray, shape: Shape): Tensor {
    return this.#recording.upload(data, shape);
  }

  /** The numbers of a float32 variable, copied to the host; resolves when the device has computed them. */
  async read(x: Variable): Promise<Float32Array> {
    invariant(x.dtype === 'float32', `expected a float32 variable to read, received one of ${x.dtype}`);
    const numbers = new Float32Array(x.value.size);
    await this.#engine.download(x.value, numbers);
    return numbers;
  }

  /**
   * [B, T, C] = scale · wte[token] + wpe[positionOffset + t]; tokens [B, T] int32. With the starts of documents [B, T], t counts from the
   * start of the token's document.
   */
  embedding(tokens: Tensor, wte: Parameter, wpe?: Parameter, options: EmbeddingOptions = {}): Variable {
    return embedding(this.#recording, tokens, { wte, wpe }, options);
  }

  /** [B, 1, C] = scale · wte[token] + wpe[positions[b]] of tokens [B, 1], one token per sequence. It has no backward. */
  embeddingEach(tokens: Tensor, positions: readonly number[], wte: Parameter, wpe?: Parameter, scale = 1): Variable {
    return embeddingEach(this.#recording, tokens, positions, { wte, wpe }, scale);
  }

  /** Normalises the last dimension; `outShape` may give the same rows another shape. */
  layerNorm(x: Variable, norm: Affine, eps: number, outShape = x.shape): Variable {
    return layerNorm(this.#recording, x, norm, eps, outShape, this.#products.type);
  }

  /** Divides by the root mean square of the last dimension, and multiplies by the weight. */
  rmsNorm(x: Variable, weight: Parameter, eps: number): Variable {
    return rmsNorm(this.#recording, x, weight, eps, this.#products.type);
  }

  /**
   * Rotates the first heads of each row of x [B, T, W] by their positions (see Kernels.rope). If no other operation has used x, it is
   * rotated in its place, and no later one may use it.
   */
  rope(x: Variable, rotation: Rotation): Variable {
    return rope(this.#recording, x, rotation);
  }

  /** [..., I] = act(gate) · up, where x [..., 2I] is gate|up. */
  gated(x: Variable, kind: ActivationKind): Variable {
    return gated(this.#recording, x, kind);
  }

  /** [..., OC] = x [..., IC] @ weight (+ bias), and the operations that follow in the layer. */
  linear(x: Variable, layer: LinearLayer): Variable {
    return linear(this.#recording, x, layer, this.#products, this.#recording.length === this.#knownAt);
  }

  /**
   * Multi-head attention: qkv [B, T, (NH + 2 NKV)·HS] to [B, T, NH·HS]. It is causal: with the starts of documents [B, T], each document by
   * itself. With ends [B, T], a position sees the keys from its start to before its end instead.
   */
  attention(qkv: Variable, heads: AttentionHeads, dropout?: Dropout, ranges: KeyRanges = {}): Variable {
    return attention(this.#recording, qkv, heads, { ranges, dropout, type: this.#products.type });
  }

  /**
   * Attention of one sequence's positions to another's: q [B, Tq, NH·HS] and kv [B, Tk, 2 NKV·HS], which is k|v, to [B, Tq, NH·HS]. Query i
   * sees the keys from its start, 0 without `starts`, to before its end.
   */
  crossAttention(
    q: Variable,
    kv: Variable,
    heads: AttentionHeads,
    ranges: Required<Pick<KeyRanges, 'ends'>> & KeyRanges,
    dropout?: Dropout,
  ): Variable {
    return crossAttention(this.#recording, { q, kv }, heads, { ranges, dropout, type: this.#products.type });
  }

  /** Drops elements of `x`; `undefined` returns `x` itself. */
  dropout(x: Variable, dropout: Dropout | undefined): Variable {
    return dropout === undefined ? x : drop(this.#recording, x, dropout);
  }

  /**
   * Losses [N] of the head's logits, x [N, IC] @ weight, against targets [N] int32 (-1: ignored); they are valid until `discard`. With
   * a scale the gradient of scale · Σ weights[n] · losses[n] is computed at once, and `backward` starts from it. Without one the losses
   * may be a seed of `backward`, which then computes the logits again. InvariantError for weights without a scale.
   */
  linearCrossEntropy(x: Variable, head: Head, targets: Tensor, gradient: LossGradient = {}): Variable {
    return linearCrossEntropy(this.#recording, x, head, targets, gradient, this.#products.operands);
  }

  /**
   * Losses [N] of logits x [N, V] (leading dimensions are flattened) against targets, with the same gradients as `linearCrossEntropy`,
   * for models whose forward returns logits.
   */
  crossEntropy(x: Variable, targets: Tensor, gradient: LossGradient = {}): Variable {
    return crossEntropy(this.#recording, x, targets, gradient);
  }

  /**
   * Applies `body` to x without keeping intermediate results: backward runs `body` again, which must do the same then. A final linear
   * layer is not computed a second time. The gradients are those of the same operations without a checkpoint, bit for bit.
   * @param others further inputs of `body`
   */
  checkpoint(x: Variable, body: CheckpointBody, others: readonly Variable[] = []): Variable {
    const inputs = [x, ...others];
    const values = inputs.map(save);
    const again = (): [tape: Tape, copies: [Variable, ...Variable[]]] => {
      const copies = inputs.map(({ shape, dtype, needsGrad }, i) => {
        const copy = new Variable(shape, dtype, values[i]!);
        copy.saved = true;
        copy.needsGrad = needsGrad;
        return copy;
      });
      const tape = new Tape(this.#engine, this.#precision, new Recording(this.#engine, this.#recording.buffers));
      return [tape, copies as [Variable, ...Variable[]]];
    };
    const [forward, copies] = again();
    const out = body(forward, ...copies);
    const last = forward.#recording.length - 1;
    invariant(out === forward.#recording.lastOut, "a checkpoint's result must be that of its last operation");
    const result = new Variable(out.shape, out.dtype, out.value);
    out.buffer = undefined;
    const parameters = forward.#recording.usedParameters;
    forward.#recording.forget();
    return this.#recording.record(result, [], { variables: [out], parameters }, (dout, useDone) => {
      const [tape, inner] = again();
      tape.#knownAt = last;
      body(tape, ...inner).grad = dout;
      result.grad = undefined;
      // What later operations have given an input is added to, as without a checkpoint.
      for (const [i, copy] of inner.entries()) copy.grad = inputs[i]!.grad;
      tape.#recording.replay(useDone);
      for (const [i, copy] of inner.entries()) inputs[i]!.grad = copy.grad;
    });
  }

  /**
   * Applies `body` to x. If its result depends on no trained parameter, intermediate results are released at once, because no backward
   * needs them.
   * @param others further inputs of `body`
   */
  part(x: Variable, body: CheckpointBody, others: readonly Variable[] = []): Variable {
    if (needsGrad({ variables: [x, ...others] })) return body(this, x, ...others);
    const tape = new Tape(this.#engine, this.#precision, new Recording(this.#engine, this.#recording.buffers));
    const out = body(tape, x, ...others);
    if (out.needsGrad) {
      this.#recording.absorb(tape.#recording);
      return out;
    }
    const result = new Variable(out.shape, out.dtype, out.value);
    out.buffer = undefined;
    tape.#recording.forget();
    return this.#recording.record(result, [], {}, () => undefined);
  }

  /** `attention` of tokens of B sequences against their caches (see Kernels.attentionDecode). It has no backward. */
  attentionDecode(qkv: Variable, sequences: readonly CachedKeys[], heads: AttentionHeads): Variable {
    return attentionDecode(this.#recording, qkv, sequences, heads);
  }

  /**
   * `crossAttention` of tokens q [B, T, NH·HS] of B sequences to their sources, whose keys and values are in caches. Sequences may share
   * them. It has no backward.
   */
  crossAttentionDecode(q: Variable, sources: readonly CachedKeys[], heads: AttentionHeads): Variable {
    return crossAttentionDecode(this.#recording, q, sources, heads);
  }

  /** Copies k|v of a source, kv [1, S, 2 NKV·HS], to the keys [S, NKV·HS] and values [S, NKV·HS] of a cache. */
  storeSource(kv: Variable, into: Pick<CachedKeys, 'keys' | 'values'>): void {
    storeSource(this.#recording, kv, into);
  }

  /** The last row of x [..., C] as [1, C]. It has no backward. */
  lastRow(x: Variable): Variable {
    return lastRow(this.#recording, x);
  }

  /**
   * Replays the tape in reverse, from the gradients of losses with a scale plus those of `seeds`. Adds to
   * the gradients of trained parameters, and releases the buffers of every operation. `onGradReady` is called once for each trained parameter that was used, with its
   * index, when the last kernel that adds to its gradient has been enqueued.
   */
  backward(seeds: readonly Seed[] = [], onGradReady?: (parameterIndex: number) => void): void {
    this.#recording.sow(seeds);
    this.#recording.replay((parameter) => onGradReady?.(parameter.index));
  }

  /** Releases every buffer, including those of a failed operation. Does nothing if there are none. */
  discard(): void {
    this.#recording.discard();
  }
}
