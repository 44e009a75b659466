/**
 * The tape: runs the engine's forward kernels and records each with its backward, which `backward` replays in reverse (recording.ts).
 * It knows no architecture (model.ts) and no optimizer (training.ts).
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
import { checkOptionNames } from '../base/optionNames.ts';
import type { AttentionHeads, CachedKeys, KeyRanges } from '../engine/attentionOptions.ts';
import type { Dropout } from '../engine/dropout.ts';
import type { Engine } from '../engine/engine.ts';
import type { LinearOptions } from '../engine/linearOptions.ts';
import type { DType, HostArray, Shape, Tensor } from '../engine/tensor.ts';
import type { Precision } from './computing.ts';
import { crossEntropy, type Head, type LossGradient, linearCrossEntropy } from './losses.ts';
import type { Parameter } from './parameterStore.ts';
import { needsGrad, Recording, type Seed } from './recording.ts';
import {
  type Affine,
  affineNames,
  type EmbeddingOptions,
  embeddingNames,
  type FloatType,
  headNames,
  type LinearLayer,
  linearNames,
  type Rotation,
  rangeNames,
  rotationNames,
  save,
  use,
  Variable,
} from './variable.ts';

/** Runs one or more operations on x and the other inputs, and returns the result of the last one. */
export type CheckpointBody = (tape: Tape, x: Variable, ...others: Variable[]) => Variable;

const uploadType = (data: HostArray): DType => {
  if (data instanceof Int32Array) return 'int32';
  return data instanceof Uint16Array ? 'bfloat16' : 'float32';
};

/** Records operations as they are computed, and computes their gradients in reverse: one microbatch, forward and backward. */
export class Tape {
  readonly #engine: Engine;
  readonly #recording: Recording;
  readonly #precision: Precision;
  /** The type that products read and write. */
  readonly #operandType: FloatType;
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
    this.#operandType = precision === 'bf16' ? 'bfloat16' : 'float32';
  }

  /** Uploads an input: int32, float32, or bfloat16 in a Uint16Array. Valid until `discard`. */
  upload(data: HostArray, shape: Shape): Tensor {
    const tensor = this.#recording.buffers.alloc(shape, uploadType(data));
    this.#engine.upload(tensor, data);
    return tensor;
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
    checkOptionNames('embedding', options, embeddingNames);
    const { positionOffset = 0, starts, scale = 1 } = options;
    const out = this.#recording.variable([...tokens.shape, wte.value.shape[1]!]);
    const shared = { tokens, scale, ...(starts && { starts }) };
    this.#engine.embeddingForward({
      ...shared,
      out: out.value,
      wte: wte.value,
      ...(wpe && { wpe: wpe.value, positionOffset }),
    });
    return this.#recording.record(out, [], { parameters: [wpe, wte] }, (dout) => {
      invariant(positionOffset === 0, 'the embedding has no backward at a position offset');
      const dwte = wte.grad && { dwte: wte.grad };
      const dwpe = wpe?.grad && { dwpe: wpe.grad };
      this.#engine.embeddingBackward({ ...shared, dout, ...dwte, ...dwpe });
    });
  }

  /** [B, 1, C] = scale · wte[token] + wpe[positions[b]] of tokens [B, 1], one token per sequence. It has no backward. */
  embeddingEach(tokens: Tensor, positions: readonly number[], wte: Parameter, wpe?: Parameter, scale = 1): Variable {
    const out = this.embedding(tokens, wte, undefined, { scale });
    if (wpe === undefined) return out;
    const rows = this.#recording.variable(out.shape);
    const where = this.upload(Int32Array.from(positions), tokens.shape);
    this.#engine.embeddingForward({ out: rows.value, tokens: where, wte: wpe.value });
    this.#engine.add({ out: rows.value, a: use(out), b: rows.value });
    return this.#recording.record(rows, [], { variables: [out], parameters: [wpe] }, () =>
      invariant(false, 'embeddingEach has no backward'),
    );
  }

  /** Normalises the last dimension; `outShape` may give the same rows another shape. */
  layerNorm(x: Variable, norm: Affine, eps: number, outShape = x.shape): Variable {
    checkOptionNames('layerNorm', norm, affineNames);
    const { weight, bias } = norm;
    const inp = save(x);
    const rows = inp.size / inp.shape.at(-1)!;
    const out = this.#recording.variable(outShape, this.#operandType);
    const mean = this.#recording.buffers.alloc([rows]);
    const rstd = this.#recording.buffers.alloc([rows]);
    const shared = { inp, weight: weight.value, mean, rstd };
    this.#engine.layerNormForward({ ...shared, out: out.value, ...(bias && { bias: bias.value }), eps });
    return this.#recording.record(out, [mean, rstd], { variables: [x], parameters: [weight, bias] }, (dout) => {
      const gradients = gradientsOf({ weight, bias });
      this.#recording.flow(x, (into) => this.#engine.layerNormBackward({ ...shared, ...gradients, dout, ...into }));
    });
  }

  /** Divides by the root mean square of the last dimension, and multiplies by the weight. */
  rmsNorm(x: Variable, weight: Parameter, eps: number): Variable {
    const inp = save(x);
    const out = this.#recording.variable(x.shape, this.#operandType);
    const rstd = this.#recording.buffers.alloc([inp.size / inp.shape.at(-1)!]);
    const shared = { inp, weight: weight.value, rstd };
    this.#engine.rmsNormForward({ ...shared, out: out.value, eps });
    return this.#recording.record(out, [rstd], { variables: [x], parameters: [weight] }, (dout) => {
      const gradient = weight.grad && { dweight: weight.grad };
      this.#recording.flow(x, (into) => this.#engine.rmsNormBackward({ ...shared, ...gradient, dout, ...into }));
    });
  }

  /**
   * Rotates the first heads of each row of x [B, T, W] by their positions (see Kernels.rope). If no other operation has used x, it is
   * rotated in its place, and no later one may use it.
   */
  rope(x: Variable, rotation: Rotation): Variable {
    checkOptionNames('rope', rotation, rotationNames);
    const inPlace = x.uses === 0 && !x.saved && !x.kept;
    const inp = use(x);
    const out = inPlace ? new Variable(x.shape, x.dtype, inp) : this.#recording.variable(x.shape, x.dtype);
    if (inPlace) x.buffer = undefined;
    this.#engine.rope({ ...rotation, inp, out: out.value });
    return this.#recording.record(out, [], { variables: [x] }, (dout) => {
      this.#engine.rope({ ...rotation, inp: dout, out: dout, inverse: true });
      this.#recording.handOn(out, x);
    });
  }

  /** [..., I] = act(gate) · up, where x [..., 2I] is gate|up. */
  gated(x: Variable, kind: ActivationKind): Variable {
    const wasSaved = x.saved;
    const inp = save(x);
    const out = this.#recording.variable([...x.shape.slice(0, -1), x.shape.at(-1)! / 2], x.dtype);
    this.#engine.gatedActivationForward({ kind, inp, out: out.value });
    return this.#recording.record(out, [], { variables: [x] }, (dout) => {
      if (wasSaved || x.kept || x.uses > 1) {
        this.#recording.flowAssigned(x, (dinp) => this.#engine.gatedActivationBackward({ kind, inp, dinp, dout }));
        return;
      }
      // Nothing else needs x any more: its gradient takes its place.
      this.#engine.gatedActivationBackward({ kind, inp, dinp: inp, dout });
      x.buffer = undefined;
      this.#recording.give(x, inp);
    });
  }

  /** [..., OC] = x [..., IC] @ weight (+ bias), and the operations that follow in the layer. */
  linear(x: Variable, layer: LinearLayer): Variable {
    checkOptionNames('linear', layer, linearNames);
    const { weight, bias, weightTransposed = false, activation: kind, residual, dropout, float32, rowsApart } = layer;
    const shape = [...x.shape.slice(0, -1), weight.value.shape[weightTransposed ? 0 : 1]!];
    const dtype = residual ? residual.dtype : float32 ? 'float32' : this.#operandType;
    // An activation's backward needs values that exist only if it is computed.
    if (this.#recording.length === this.#knownAt && !kind) {
      return this.#recordLinear(new Variable(shape, dtype), x, layer);
    }
    const out = this.#recording.variable(shape, dtype);
    // The input of the activation is kept only if a backward needs it.
    if (kind && needsGrad({ variables: [x], parameters: parametersOf(layer) })) {
      out.activation = { kind, preActivation: this.#recording.buffers.alloc(out.shape, out.dtype) };
    }
    this.#engine.linearForward({
      ...operandsOf(this.#precision),
      inp: x.value,
      weight: factorOf(weight),
      weightTransposed,
      out: out.value,
      ...(bias && { bias: bias.value }),
      ...(kind && { activation: out.activation ?? { kind } }),
      ...(residual && { residual: residual.value }),
      ...(dropout && { dropout }),
      ...(rowsApart && { rowsApart }),
    });
    return this.#recordLinear(out, x, layer);
  }

  #recordLinear(out: Variable, x: Variable, layer: LinearLayer): Variable {
    const { residual } = layer;
    const inp = save(x);
    if (residual) use(residual);
    const scratch = out.activation ? [out.activation.preActivation] : [];
    const parameters = parametersOf(layer);
    return this.#recording.record(out, scratch, { variables: [x, residual], parameters }, (dout) => {
      if (needsGrad({ variables: [x], parameters })) this.#linearBackward(out, dout, x, inp, layer);
      if (residual?.needsGrad) this.#recording.handOn(out, residual);
    });
  }

  /** The gradients of the layer's factors; `out.grad` remains that of the residual. */
  #linearBackward(out: Variable, dout: Tensor, x: Variable, inp: Tensor, layer: LinearLayer): void {
    const { weight, weightTransposed = false, dropout } = layer;
    const gradient = weight.adapted?.isTrained ? this.#zeros(weight.value.shape) : undefined;
    if (out.activation && !out.gradIsOfPreActivation) {
      const { kind, preActivation } = out.activation;
      this.#engine.activationBackward({ kind, dinp: dout, dout, inp: preActivation });
    }
    const dsum = dropout ? this.#dropped(dout, dropout) : dout;
    const gradients = { ...gradientsOf(layer), ...(gradient && { dweight: gradient }) };
    const operands = operandsOf(this.#precision);
    const shared = { ...operands, inp, weight: factorOf(weight), weightTransposed, dout: dsum, ...gradients };
    if (x.activation && x.uses === 1) {
      // Nothing else adds to the gradient of x, so the gradient of the sum can be computed at once.
      x.grad = this.#recording.buffers.alloc(x.shape, x.dtype);
      x.gradIsOfPreActivation = true;
      this.#engine.linearBackward({ ...shared, dinp: x.grad, dinpActivation: x.activation });
    } else {
      this.#recording.flow(x, (into) => this.#engine.linearBackward({ ...shared, ...into }));
    }
    if (dsum !== dout) this.#recording.buffers.release(dsum);
    if (gradient !== undefined) {
      weight.adapted!.project(gradient, this.#recording.buffers);
      if (weight.grad !== undefined) this.#engine.add({ out: weight.grad, a: weight.grad, b: gradient });
      this.#recording.buffers.release(gradient);
    }
  }

  /**
   * Multi-head attention: qkv [B, T, (NH + 2 NKV)·HS] to [B, T, NH·HS]. It is causal: with the starts of documents [B, T], each document by
   * itself. With ends [B, T], a position sees the keys from its start to before its end instead.
   */
  attention(qkv: Variable, heads: AttentionHeads, dropout?: Dropout, ranges: KeyRanges = {}): Variable {
    checkOptionNames('attention', heads, headNames);
    checkOptionNames('attention', ranges, rangeNames);
    const [B, T] = qkv.shape as [number, number, number];
    const lse = this.#recording.buffers.alloc([2, B, heads.nHead, T]);
    const out = this.#recording.variable([B, T, attendedWidth(qkv, heads)], this.#operandType);
    const shared = { qkv: save(qkv), ...heads, lse, ...(dropout && { dropout }), ...ranges };
    this.#engine.attentionForward({ ...shared, out: out.value });
    const result = out.value;
    out.saved = true;
    return this.#recording.record(out, [lse], { variables: [qkv] }, (dout) =>
      this.#recording.flowAssigned(qkv, (dqkv) =>
        this.#engine.attentionBackward({ ...shared, dqkv, dout, out: result }),
      ),
    );
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
    checkOptionNames('crossAttention', heads, headNames);
    checkOptionNames('crossAttention', ranges, rangeNames);
    const [B, Tq] = q.shape as [number, number, number];
    const lse = this.#recording.buffers.alloc([2, B, heads.nHead, Tq]);
    const out = this.#recording.variable(q.shape, this.#operandType);
    const shared = { q: save(q), kv: save(kv), ...heads, lse, ...(dropout && { dropout }), ...ranges };
    this.#engine.attentionForward({ ...shared, out: out.value });
    const result = out.value;
    out.saved = true;
    return this.#recording.record(out, [lse], { variables: [q, kv] }, (dout) => {
      const [dq, dkv] = [q, kv].map(({ shape, dtype }) => this.#recording.buffers.alloc(shape, dtype)) as [
        Tensor,
        Tensor,
      ];
      this.#engine.attentionBackward({ ...shared, dq, dkv, dout, out: result });
      for (const [x, gradient] of [
        [q, dq],
        [kv, dkv],
      ] as const) {
        if (x.needsGrad) this.#recording.give(x, gradient);
        else this.#recording.buffers.release(gradient);
      }
    });
  }

  /** Drops elements of `x`; `undefined` returns `x` itself. */
  dropout(x: Variable, dropout: Dropout | undefined): Variable {
    if (dropout === undefined) return x;
    const out = this.#recording.variable(x.shape, x.dtype);
    this.#engine.dropout({ out: out.value, inp: use(x), dropout });
    return this.#recording.record(out, [], { variables: [x] }, (dout) => {
      this.#engine.dropout({ out: dout, inp: dout, dropout });
      this.#recording.handOn(out, x);
    });
  }

  /**
   * Losses [N] of the head's logits, x [N, IC] @ weight, against targets [N] int32 (-1: ignored); they are valid until `discard`. With
   * a scale the gradient of scale · Σ weights[n] · losses[n] is computed at once, and `backward` starts from it. Without one the losses
   * may be a seed of `backward`, which then computes the logits again. InvariantError for weights without a scale.
   */
  linearCrossEntropy(x: Variable, head: Head, targets: Tensor, gradient: LossGradient = {}): Variable {
    return linearCrossEntropy(this.#recording, x, head, targets, gradient, operandsOf(this.#precision));
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
    checkOptionNames('attentionDecode', heads, headNames);
    const [B, T] = qkv.shape as [number, number, number];
    const out = this.#recording.variable([B, T, attendedWidth(qkv, heads)]);
    this.#engine.attentionDecode({ out: out.value, qkv: use(qkv), sequences, ...heads });
    return this.#recording.record(out, [], { variables: [qkv] }, () =>
      invariant(false, 'attentionDecode has no backward'),
    );
  }

  /**
   * `crossAttention` of tokens q [B, T, NH·HS] of B sequences to their sources, whose keys and values are in caches. Sequences may share
   * them. It has no backward.
   */
  crossAttentionDecode(q: Variable, sources: readonly CachedKeys[], heads: AttentionHeads): Variable {
    checkOptionNames('crossAttentionDecode', heads, headNames);
    const out = this.#recording.variable(q.shape);
    this.#engine.attentionDecode({ out: out.value, q: use(q), sequences: sources, ...heads });
    return this.#recording.record(out, [], { variables: [q] }, () =>
      invariant(false, 'crossAttentionDecode has no backward'),
    );
  }

  /** Copies k|v of a source, kv [1, S, 2 NKV·HS], to the keys [S, NKV·HS] and values [S, NKV·HS] of a cache. */
  storeSource(kv: Variable, { keys, values }: Pick<CachedKeys, 'keys' | 'values'>): void {
    const [rows, width] = keys.shape as [number, number];
    const parts = this.#recording.buffers.alloc([2 * rows, width]); // keys and values of a position, one after another
    this.#engine.copy({ out: parts, inp: use(kv) });
    for (const [part, out] of [keys, values].entries()) {
      const from = this.upload(
        Int32Array.from({ length: rows }, (_, row) => 2 * row + part),
        [1, rows],
      );
      this.#engine.embeddingForward({ out, tokens: from, wte: parts }); // a table lookup
    }
  }

  /** The last row of x [..., C] as [1, C]. It has no backward. */
  lastRow(x: Variable): Variable {
    const C = x.shape.at(-1)!;
    const N = x.shape.slice(0, -1).reduce((product, length) => product * length, 1);
    if (N === 1) return x;
    const tokens = this.upload(Int32Array.of(N - 1), [1, 1]);
    const out = this.#recording.variable([1, C]);
    this.#engine.embeddingForward({ out: out.value, tokens, wte: use(x) }); // a table lookup, like an embedding
    return this.#recording.record(out, [], { variables: [x] }, () => invariant(false, 'lastRow has no backward'));
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

  #zeros(shape: Shape): Tensor {
    const zeros = this.#recording.buffers.alloc(shape);
    this.#engine.zero(zeros);
    return zeros;
  }

  /** A copy of `dout` without the elements that dropout dropped. */
  #dropped(dout: Tensor, dropout: Dropout): Tensor {
    const out = this.#recording.buffers.alloc(dout.shape, this.#operandType);
    this.#engine.dropout({ out, inp: dout, dropout });
    return out;
  }
}

/** How linear layers read their factors. */
function operandsOf(precision: Precision): Pick<LinearOptions, 'operands'> {
  return precision === 'f16' ? { operands: 'float16' } : {};
}

/** The width of the result of attention. */
function attendedWidth(qkv: Variable, { nHead, nKvHead = nHead }: AttentionHeads): number {
  return (qkv.shape.at(-1)! * nHead) / (nHead + 2 * nKvHead);
}

/** What a product with this weight reads. */
function factorOf({ adapted, value }: Parameter): Tensor {
  return adapted?.effective ?? value;
}

function parametersOf({ weight, bias }: Affine): (Parameter | undefined)[] {
  return [weight, bias, weight.adapted?.a, weight.adapted?.b];
}

/** The tensors that accumulate the gradients of the trained ones. */
function gradientsOf({ weight, bias }: Affine): { readonly dweight?: Tensor; readonly dbias?: Tensor } {
  return { ...(weight.grad && { dweight: weight.grad }), ...(bias?.grad && { dbias: bias.grad }) };
}
