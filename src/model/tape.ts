/**
 * The tape: runs the engine's forward kernels, records each with its backward, and replays them in reverse. It owns every
 * activation: all buffers come from the engine's pool and are back in it after `discard`, wherever a kernel has thrown before, so
 * a second step of the same shapes allocates nothing. It knows no architecture (model.ts) and no optimizer (training.ts).
 *
 * A checkpoint keeps only what goes in and what comes out; its backward first runs its forward again (Chen et al., "Training
 * Deep Nets with Sublinear Memory Cost", 2016, https://arxiv.org/abs/1604.06174).
 *
 * Gradients of activations: the first operation that has one for a variable writes it, those after it add to it. Where an
 * operation hands its output's gradient on as it is, or may overwrite it, the buffer changes its owner.
 *
 * A parameter without a gradient is frozen: nothing is computed for it, and no kernel runs backward for a variable below which
 * nothing is trained.
 *
 * With precision bf16 what products read and write is bfloat16, and so are the gradients of it: the results of layer norms, of
 * linear layers without a residual, and of attention. The residual stream, its gradient and all statistics stay float32. Where a
 * bfloat16 variable has several uses, each adds to its gradient in float32 and rounds the sum.
 */
import { invariant } from '../base/errors.ts';
import type { Dropout, DType, Engine, HostArray, LinearCrossEntropyOptions, Shape, Tensor } from '../engine/engine.ts';
import { Buffers } from './buffers.ts';
import type { Precision } from './computing.ts';
import type { Parameter } from './parameterStore.ts';
import { type Affine, type FloatType, type LinearLayer, save, use, Variable } from './variable.ts';

/** Keys and values of one block. */
export interface LayerCache {
  /** [blockSize, C] */
  readonly keys: Tensor;
  /** [blockSize, C] */
  readonly values: Tensor;
}

/** Runs operations on x, at least one, and returns what the last of them gives. */
export type CheckpointBody = (tape: Tape, x: Variable) => Variable;

/** Where a backward pass starts. */
export interface Seed {
  /** What an operation of this tape gave. */
  readonly of: Variable;
  /** The gradient of what is minimised with respect to it: of its shape and type. Is read at once, and stays the caller's. */
  readonly grad: Tensor;
}

/** A use of the parameter has added to its gradient. */
type UseDone = (parameter: Parameter) => void;

interface Recorded {
  /** Absent where backward has nothing to wait for. */
  readonly out: Variable | undefined;
  /** Buffers of this operation alone (statistics, pre-activations), released after its backward. */
  readonly scratch: readonly Tensor[];
  /** Those that are trained: used once each, done when `backward` returns. */
  readonly parameters: readonly Parameter[];
  /** `dout` is the gradient of `out`. It may tell of parameters that are done before it returns. */
  readonly backward: (dout: Tensor, useDone: UseDone) => void;
}

/** What an operation reads, whose gradients its backward gives. */
interface Inputs {
  readonly variables?: readonly (Variable | undefined)[];
  readonly parameters?: readonly (Parameter | undefined)[];
}

/** Runs a kernel that gives the gradient of an input: into `dinp`, or not at all. */
type Write = (into: { readonly dinp?: Tensor; readonly accumulate?: boolean }) => void;

const uploadType = (data: HostArray): DType => {
  if (data instanceof Int32Array) return 'int32';
  return data instanceof Uint16Array ? 'bfloat16' : 'float32';
};

/** Records operations as they are computed, and computes their gradients in reverse: one microbatch, forward and backward. */
export class Tape {
  readonly #engine: Engine;
  readonly #buffers: Buffers;
  readonly #precision: Precision;
  /** Of what products read and write. */
  readonly #operandType: FloatType;
  readonly #recorded: Recorded[] = [];
  /** For each parameter, how many recorded operations have still to add to its gradient. */
  readonly #pendingUses = new Map<Parameter, number>();
  /** The operation whose result is known already: a linear layer there is recorded, but not computed. */
  #knownAt: number | undefined;

  /**
   * @param precision of what matrix products read and write; bf16 needs an engine that has it
   * @param buffers of a tape that this one is within; leave it out
   */
  constructor(engine: Engine, precision: Precision = 'float32', buffers = new Buffers(engine)) {
    this.#engine = engine;
    this.#buffers = buffers;
    this.#precision = precision;
    this.#operandType = precision === 'bf16' ? 'bfloat16' : 'float32';
  }

  /** What comes from outside: int32, float32, or bfloat16 in a Uint16Array. Valid until `discard`. */
  upload(data: HostArray, shape: Shape): Tensor {
    const tensor = this.#buffers.alloc(shape, uploadType(data));
    this.#engine.upload(tensor, data);
    return tensor;
  }

  /** [B, T, C] = wte[token] + wpe[positionOffset + t]; tokens [B, T] int32. */
  embedding(tokens: Tensor, wte: Parameter, wpe?: Parameter, positionOffset = 0): Variable {
    const out = this.#variable([...tokens.shape, wte.value.shape[1]!]);
    this.#engine.embeddingForward({
      out: out.value,
      tokens,
      wte: wte.value,
      ...(wpe && { wpe: wpe.value, positionOffset }),
    });
    return this.#record(out, [], { parameters: [wpe, wte] }, (dout) => {
      invariant(positionOffset === 0, 'the embedding has no backward at a position offset');
      const dwte = wte.grad && { dwte: wte.grad };
      const dwpe = wpe?.grad && { dwpe: wpe.grad };
      this.#engine.embeddingBackward({ dout, tokens, ...dwte, ...dwpe });
    });
  }

  /** Normalises the last dimension; `outShape` may give the same rows another shape. */
  layerNorm(x: Variable, { weight, bias }: Affine, eps: number, outShape = x.shape): Variable {
    const inp = save(x);
    const rows = inp.size / inp.shape.at(-1)!;
    const out = this.#variable(outShape, this.#operandType);
    const mean = this.#buffers.alloc([rows]);
    const rstd = this.#buffers.alloc([rows]);
    const shared = { inp, weight: weight.value, mean, rstd };
    this.#engine.layerNormForward({ ...shared, out: out.value, ...(bias && { bias: bias.value }), eps });
    return this.#record(out, [mean, rstd], { variables: [x], parameters: [weight, bias] }, (dout) => {
      const gradients = gradientsOf({ weight, bias });
      this.#flow(x, (into) => this.#engine.layerNormBackward({ ...shared, ...gradients, dout, ...into }));
    });
  }

  /** [..., OC] = x [..., IC] @ weight (+ bias), and what the layer has after it. */
  linear(x: Variable, layer: LinearLayer): Variable {
    const { weight, bias, weightTransposed = false, activation: kind, residual, dropout } = layer;
    const shape = [...x.shape.slice(0, -1), weight.value.shape[weightTransposed ? 0 : 1]!];
    const dtype = residual ? residual.dtype : this.#operandType;
    // An activation's backward needs what only computing gives.
    if (this.#recorded.length === this.#knownAt && !kind) {
      return this.#recordLinear(new Variable(shape, dtype), x, layer);
    }
    const out = this.#variable(shape, dtype);
    // What the activation was applied to is kept only where a backward needs it.
    if (kind && needsGrad({ variables: [x], parameters: [weight, bias] })) {
      out.activation = { kind, preActivation: this.#buffers.alloc(out.shape, out.dtype) };
    }
    this.#engine.linearForward({
      inp: x.value,
      weight: weight.value,
      weightTransposed,
      out: out.value,
      ...(bias && { bias: bias.value }),
      ...(kind && { activation: out.activation ?? { kind } }),
      ...(residual && { residual: residual.value }),
      ...(dropout && { dropout }),
    });
    return this.#recordLinear(out, x, layer);
  }

  #recordLinear(out: Variable, x: Variable, layer: LinearLayer): Variable {
    const { weight, bias, residual } = layer;
    const inp = save(x);
    if (residual) use(residual);
    const scratch = out.activation ? [out.activation.preActivation] : [];
    const parameters = [weight, bias];
    return this.#record(out, scratch, { variables: [x, residual], parameters }, (dout) => {
      if (needsGrad({ variables: [x], parameters })) this.#linearBackward(out, dout, x, inp, layer);
      if (residual?.needsGrad) this.#handOn(out, residual);
    });
  }

  /** The gradients of what the layer multiplies; `out.grad` stays that of the residual. */
  #linearBackward(out: Variable, dout: Tensor, x: Variable, inp: Tensor, layer: LinearLayer): void {
    const { weight, weightTransposed = false, dropout } = layer;
    if (out.activation && !out.gradIsOfPreActivation) {
      const { kind, preActivation } = out.activation;
      this.#engine.activationBackward({ kind, dinp: dout, dout, inp: preActivation });
    }
    const dsum = dropout ? this.#dropped(dout, dropout) : dout;
    const shared = { inp, weight: weight.value, weightTransposed, dout: dsum, ...gradientsOf(layer) };
    if (x.activation && x.uses === 1) {
      // Nobody else adds to the gradient of x, so it can go on to that of the sum at once.
      x.grad = this.#buffers.alloc(x.shape, x.dtype);
      x.gradIsOfPreActivation = true;
      this.#engine.linearBackward({ ...shared, dinp: x.grad, dinpActivation: x.activation });
    } else {
      this.#flow(x, (into) => this.#engine.linearBackward({ ...shared, ...into }));
    }
    if (dsum !== dout) this.#buffers.release(dsum);
  }

  /** Causal multi-head attention: qkv [B, T, 3C] to [B, T, C]. */
  attention(qkv: Variable, nHead: number, dropout?: Dropout): Variable {
    const [B, T, threeC] = qkv.shape as [number, number, number];
    const lse = this.#buffers.alloc([B, nHead, T]);
    const out = this.#variable([B, T, threeC / 3], this.#operandType);
    const shared = { qkv: save(qkv), nHead, lse, ...(dropout && { dropout }) };
    this.#engine.attentionForward({ ...shared, out: out.value });
    const result = out.value;
    out.saved = true;
    return this.#record(out, [lse], { variables: [qkv] }, (dout) =>
      this.#flowAssigned(qkv, (dqkv) => this.#engine.attentionBackward({ ...shared, dqkv, dout, out: result })),
    );
  }

  /** Drops elements of `x`, whose buffer it takes over unless the value is saved; `undefined` returns `x` itself. */
  dropout(x: Variable, dropout: Dropout | undefined): Variable {
    if (dropout === undefined) return x;
    const inp = use(x);
    const out = this.#takeOver(x);
    this.#engine.dropout({ out: out.value, inp, dropout });
    return this.#record(out, [], { variables: [x] }, (dout) => {
      this.#engine.dropout({ out: dout, inp: dout, dropout });
      this.#handOn(out, x);
    });
  }

  /**
   * Losses [N] of the head's logits, x [N, IC] @ weight, against targets [N] int32 (-1: ignored); they are valid until `discard`. With
   * `scale` the gradient of scale · Σ weights[n] · losses[n] is computed at once, and `backward` starts from it; without `weights`
   * [N] they are 1. Without `scale` the losses may be a seed of `backward`, at the price of computing the logits again.
   */
  linearCrossEntropy(
    x: Variable,
    { weight, weightTransposed = false }: Pick<LinearLayer, 'weight' | 'weightTransposed'>,
    targets: Tensor,
    scale?: number,
    weights?: Tensor,
  ): Variable {
    const losses = this.#variable([targets.size]);
    losses.kept = true;
    const shared = { losses: losses.value, inp: save(x), weight: weight.value, weightTransposed, targets };
    const inputs = { variables: [x], parameters: [weight] };
    if (scale === undefined) {
      this.#engine.linearCrossEntropy(shared);
      return this.#record(losses, [], inputs, (dout) => this.#headBackward(x, weight, { ...shared, weights: dout }));
    }
    invariant(needsGrad(inputs), 'a loss with a scale has nothing below it that is trained');
    this.#headBackward(x, weight, { ...shared, scale, ...(weights && { weights }) });
    this.#record(undefined, [], { parameters: [weight] }, () => undefined);
    return losses;
  }

  /** Losses, and the gradients of what is trained. */
  #headBackward(x: Variable, weight: Parameter, options: LinearCrossEntropyOptions): void {
    const dweight = weight.grad && { dweight: weight.grad };
    if (!x.needsGrad) this.#engine.linearCrossEntropy({ ...options, ...dweight });
    else this.#flowAssigned(x, (dinp) => this.#engine.linearCrossEntropy({ ...options, dinp, ...dweight }));
  }

  /**
   * Losses [N] of logits x [N, V] (leading dimensions are flattened) against targets, as `linearCrossEntropy` has them of a head: for
   * models whose forward ends in logits. With `scale` the gradient of scale · (sum of losses) is computed with them.
   */
  crossEntropy(x: Variable, targets: Tensor, scale?: number): Variable {
    const losses = this.#variable([targets.size]);
    losses.kept = true;
    const shared = { losses: losses.value, logits: use(x), targets };
    invariant(scale === undefined || x.needsGrad, 'a loss with a scale has nothing below it that is trained');
    if (scale === undefined) this.#engine.crossEntropy(shared);
    else this.#flowAssigned(x, (dlogits) => this.#engine.crossEntropy({ ...shared, scale, dlogits }));
    return this.#record(losses, [], { variables: [x] }, () =>
      invariant(false, 'the loss of logits has its gradient at once, or none'),
    );
  }

  /**
   * `body` of x, without keeping what lies between: backward runs `body` again, which must do the same then; a linear layer that ends
   * it is not computed a second time. Gradients are those that the same operations have without a checkpoint; bit for bit where x has
   * no use outside, since those of its uses in `body` are added up on their own first.
   */
  checkpoint(x: Variable, body: CheckpointBody): Variable {
    const inp = save(x);
    const again = (): [tape: Tape, x: Variable] => {
      const copy = new Variable(x.shape, x.dtype, inp);
      copy.saved = true;
      copy.needsGrad = x.needsGrad;
      return [new Tape(this.#engine, this.#precision, this.#buffers), copy];
    };
    const [forward, forwardX] = again();
    const out = body(forward, forwardX);
    const last = forward.#recorded.length - 1;
    invariant(out === forward.#recorded[last]?.out, "a checkpoint's result must be that of its last operation");
    const result = new Variable(out.shape, out.dtype, out.value);
    out.buffer = undefined;
    const parameters = [...forward.#pendingUses.keys()];
    forward.#forget();
    return this.#record(result, [], { variables: [out], parameters }, (dout, useDone) => {
      const [tape, tapeX] = again();
      tape.#knownAt = last;
      body(tape, tapeX).grad = dout;
      result.grad = undefined;
      tape.#replay(useDone);
      if (tapeX.grad !== undefined) this.#give(x, tapeX.grad);
    });
  }

  /** Tokens against a cache (see Engine.attentionDecode): qkv [1, T, 3C] to [1, T, C]. It has no backward. */
  attentionDecode(qkv: Variable, cache: LayerCache, position: number, nHead: number): Variable {
    const [B, T, threeC] = qkv.shape as [number, number, number];
    const out = this.#variable([B, T, threeC / 3]);
    this.#engine.attentionDecode({ out: out.value, qkv: use(qkv), ...cache, position, nHead });
    return this.#record(out, [], { variables: [qkv] }, () => invariant(false, 'attentionDecode has no backward'));
  }

  /** The last row of x [..., C] as [1, C]. It has no backward. */
  lastRow(x: Variable): Variable {
    const C = x.shape.at(-1)!;
    const N = x.shape.slice(0, -1).reduce((product, length) => product * length, 1);
    if (N === 1) return x;
    const tokens = this.upload(Int32Array.of(N - 1), [1, 1]);
    const out = this.#variable([1, C]);
    this.#engine.embeddingForward({ out: out.value, tokens, wte: use(x) }); // a table look-up, as of an embedding
    return this.#record(out, [], { variables: [x] }, () => invariant(false, 'lastRow has no backward'));
  }

  /**
   * Replays the tape in reverse from the gradients that `linearCrossEntropy` left and from `seeds`, which are added to them; adds to
   * the gradients of what is trained, and releases the buffers of every operation. `onGradReady` is called with a parameter's index
   * when the last kernel that adds to its gradient has been enqueued, once for each trained parameter that was used.
   */
  backward(seeds: readonly Seed[] = [], onGradReady?: (parameterIndex: number) => void): void {
    for (const seed of seeds) this.#sow(seed);
    this.#replay((parameter) => onGradReady?.(parameter.index));
  }

  #sow({ of, grad }: Seed): void {
    invariant(
      this.#recorded.some(({ out }) => out === of),
      'backward can start only from what an operation of this tape gave, before its backward',
    );
    invariant(of.needsGrad, 'backward was to start from a variable below which nothing is trained');
    invariant(
      grad.dtype === of.dtype && grad.shape.join() === of.shape.join(),
      `the gradient ${grad.dtype} [${grad.shape}] is of a variable ${of.dtype} [${of.shape}]`,
    );
    of.uses++;
    this.#flowAssigned(of, (dout) => this.#engine.copy({ out: dout, inp: grad }));
  }

  /** Releases every buffer, also those that a failed operation left. Harmless when there is nothing left. */
  discard(): void {
    this.#forget();
    this.#buffers.releaseAll();
  }

  /** Releases the buffers of the operations without a backward pass. */
  #forget(): void {
    for (const operation of this.#recorded.splice(0)) this.#free(operation);
    this.#pendingUses.clear();
  }

  #replay(onGradReady: (parameter: Parameter) => void): void {
    const useDone: UseDone = (parameter) => {
      const pending = this.#pendingUses.get(parameter)! - 1;
      this.#pendingUses.set(parameter, pending);
      if (pending === 0) onGradReady(parameter);
    };
    for (;;) {
      const operation = this.#recorded.pop();
      if (operation === undefined) return;
      const { out } = operation;
      const left = new Set(operation.parameters);
      const done: UseDone = (parameter) => {
        left.delete(parameter);
        useDone(parameter);
      };
      if (out?.grad !== undefined) operation.backward(out.grad, done);
      this.#free(operation);
      for (const parameter of left) useDone(parameter);
    }
  }

  #variable(shape: Shape, dtype: FloatType = 'float32'): Variable {
    return new Variable(shape, dtype, this.#buffers.alloc(shape, dtype));
  }

  #record<Out extends Variable | undefined>(
    out: Out,
    scratch: readonly Tensor[],
    inputs: Inputs,
    backward: Recorded['backward'],
  ): Out {
    const parameters = (inputs.parameters ?? []).filter(isTrained);
    if (out !== undefined) out.needsGrad = needsGrad(inputs);
    this.#recorded.push({ out, scratch, parameters, backward });
    for (const parameter of parameters) {
      this.#pendingUses.set(parameter, (this.#pendingUses.get(parameter) ?? 0) + 1);
    }
    return out;
  }

  /** Whoever used this output ran its backward already, so nothing of the operation is needed any more. */
  #free({ out, scratch }: Recorded): void {
    if (out?.grad !== undefined) this.#buffers.release(out.grad);
    if (out !== undefined) out.grad = undefined;
    if (out?.buffer !== undefined && !out.kept) {
      this.#buffers.release(out.buffer);
      out.buffer = undefined;
    }
    for (const tensor of scratch) this.#buffers.release(tensor);
  }

  /** A variable in the buffer of `x` if its value is not needed any more, else in a new one. */
  #takeOver(x: Variable): Variable {
    if (x.saved) return this.#variable(x.shape, x.dtype);
    const out = new Variable(x.shape, x.dtype, x.value);
    x.buffer = undefined;
    return out;
  }

  /** Adds a kernel's gradient to that of `x`, if `x` needs one; for kernels that can accumulate. */
  #flow(x: Variable, write: Write): void {
    if (!x.needsGrad) write({});
    else if (x.grad !== undefined) write({ dinp: x.grad, accumulate: true });
    else this.#flowAssigned(x, (dinp) => write({ dinp }));
  }

  /** The same for kernels that only assign. */
  #flowAssigned(x: Variable, write: (dinp: Tensor) => void): void {
    const fresh = this.#buffers.alloc(x.shape, x.dtype);
    write(fresh);
    this.#give(x, fresh);
  }

  /** The gradient of `out` is added to that of `x`, and is not that of `out` any more. */
  #handOn(out: Variable, x: Variable): void {
    this.#give(x, out.grad!);
    out.grad = undefined;
  }

  /** Adds `grad`, whose buffer is the receiver's now, to the gradient of `x`. */
  #give(x: Variable, grad: Tensor): void {
    const before = x.grad;
    if (before !== undefined) {
      this.#engine.add({ out: grad, a: grad, b: before });
      this.#buffers.release(before);
    }
    x.grad = grad;
  }

  /** A copy of `dout` with the elements dropped that dropout had dropped. */
  #dropped(dout: Tensor, dropout: Dropout): Tensor {
    const out = this.#buffers.alloc(dout.shape, this.#operandType);
    this.#engine.dropout({ out, inp: dout, dropout });
    return out;
  }
}

function isTrained(parameter: Parameter | undefined): parameter is Parameter {
  return parameter?.grad !== undefined;
}

/** Whether anything among or below these is trained. */
function needsGrad({ variables = [], parameters = [] }: Inputs): boolean {
  return variables.some((variable) => variable?.needsGrad) || parameters.some(isTrained);
}

/** Where the gradients of those are added that are trained. */
function gradientsOf({ weight, bias }: Affine): { readonly dweight?: Tensor; readonly dbias?: Tensor } {
  return { ...(weight.grad && { dweight: weight.grad }), ...(bias?.grad && { dbias: bias.grad }) };
}
