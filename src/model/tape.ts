/**
 * The tape: runs the engine's forward kernels, records each with its backward, and replays them in reverse. It owns every
 * activation: all buffers come from the engine's pool and are back in it after `backward` or `discard`, so a second step of
 * the same shapes allocates nothing. It knows no architecture (gpt.ts) and no optimizer (training.ts).
 *
 * Gradients of activations: a residual connection gives both its inputs the same gradient, which they share without a copy
 * until one of them is written to; an operation whose gradient may overwrite its output's does so.
 */
import { invariant } from '../base/errors.ts';
import type { ActivationKind, Dropout, Engine, Shape, Tensor } from '../engine/engine.ts';
import type { Parameter } from './parameterStore.ts';

/** A gradient's buffer and how many variables own it. */
interface SharedTensor {
  readonly tensor: Tensor;
  owners: number;
}

/** The result of an operation on the tape. Valid until the tape's `backward` or `discard`. */
export class Variable {
  readonly shape: Shape;
  /** Absent once another operation took the buffer over. */
  buffer: Tensor | undefined;
  /** Whether a backward still needs the value, so that nothing may overwrite it. */
  saved = false;
  grad: SharedTensor | undefined;

  constructor(buffer: Tensor) {
    this.shape = buffer.shape;
    this.buffer = buffer;
  }

  get value(): Tensor {
    invariant(this.buffer !== undefined, 'a variable was used after an operation took over its buffer');
    return this.buffer;
  }
}

interface Recorded {
  readonly out: Variable;
  /** Buffers of this operation alone (statistics, losses), released after its backward. */
  readonly scratch: readonly Tensor[];
  readonly parameters: readonly Parameter[];
  readonly backward: (dout: SharedTensor) => void;
}

type Write = (dinp: Tensor, accumulate: boolean) => void;

export class Tape {
  readonly #engine: Engine;
  readonly #recorded: Recorded[] = [];
  /** For each parameter, how many recorded operations have still to add to its gradient. */
  readonly #pendingUses = new Map<Parameter, number>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** [B, T, C] = wte[token] + wpe[positionOffset + t]; tokens [B, T] int32 stay the caller's. */
  embedding(tokens: Tensor, wte: Parameter, wpe?: Parameter, positionOffset = 0): Variable {
    const out = new Variable(this.#engine.alloc([...tokens.shape, wte.value.shape[1]!]));
    this.#engine.embeddingForward({
      out: out.value,
      tokens,
      wte: wte.value,
      ...(wpe && { wpe: wpe.value, positionOffset }),
    });
    return this.#record(out, [], wpe ? [wpe, wte] : [wte], (dout) => {
      invariant(positionOffset === 0, 'the embedding has no backward at a position offset');
      const dwpe = wpe && { dwpe: gradOf(wpe) };
      this.#engine.embeddingBackward({ dout: dout.tensor, tokens, dwte: gradOf(wte), ...dwpe });
    });
  }

  /** Normalises the last dimension; `outShape` may give the same rows another shape. */
  layerNorm(x: Variable, weight: Parameter, bias: Parameter | undefined, eps: number, outShape = x.shape): Variable {
    const inp = save(x);
    const rows = inp.size / inp.shape.at(-1)!;
    const out = new Variable(this.#engine.alloc(outShape));
    const mean = this.#engine.alloc([rows]);
    const rstd = this.#engine.alloc([rows]);
    const shared = { inp, weight: weight.value, mean, rstd };
    this.#engine.layerNormForward({ ...shared, out: out.value, ...(bias && { bias: bias.value }), eps });
    return this.#record(out, [mean, rstd], bias ? [weight, bias] : [weight], (dout) => {
      const dparameters = { dweight: gradOf(weight), ...(bias && { dbias: gradOf(bias) }) };
      this.#flow(x, (dinp, accumulate) =>
        this.#engine.layerNormBackward({ ...shared, ...dparameters, dout: dout.tensor, dinp, accumulate }),
      );
    });
  }

  /** [..., OC] = x [..., IC] @ weight (+ bias); with `weightTransposed` the weight is [OC, IC]. */
  linear(x: Variable, weight: Parameter, bias?: Parameter, options?: { weightTransposed: boolean }): Variable {
    const weightTransposed = options?.weightTransposed ?? false;
    const shared = { inp: save(x), weight: weight.value, weightTransposed };
    const outputs = weight.value.shape[weightTransposed ? 0 : 1]!;
    const out = new Variable(this.#engine.alloc([...x.shape.slice(0, -1), outputs]));
    this.#engine.linearForward({ ...shared, out: out.value, ...(bias && { bias: bias.value }) });
    return this.#record(out, [], bias ? [weight, bias] : [weight], (dout) => {
      const dparameters = { dweight: gradOf(weight), ...(bias && { dbias: gradOf(bias) }) };
      this.#flow(x, (dinp, accumulate) =>
        this.#engine.linearBackward({ ...shared, ...dparameters, dout: dout.tensor, dinp, accumulate }),
      );
    });
  }

  activation(kind: ActivationKind, x: Variable): Variable {
    const inp = save(x);
    const out = new Variable(this.#engine.alloc(x.shape));
    this.#engine.activationForward({ kind, out: out.value, inp });
    return this.#record(out, [], [], (dout) =>
      this.#flowInPlace(x, out, dout, (dinp) =>
        this.#engine.activationBackward({ kind, dinp, dout: dout.tensor, inp }),
      ),
    );
  }

  /** Causal multi-head attention: qkv [B, T, 3C] to [B, T, C]. */
  attention(qkv: Variable, nHead: number, dropout?: Dropout): Variable {
    const [B, T, threeC] = qkv.shape as [number, number, number];
    const lse = this.#engine.alloc([B, nHead, T]);
    const out = new Variable(this.#engine.alloc([B, T, threeC / 3]));
    const shared = { qkv: save(qkv), nHead, lse, ...(dropout && { dropout }) };
    this.#engine.attentionForward({ ...shared, out: out.value });
    const saved = save(out);
    return this.#record(out, [lse], [], (dout) =>
      this.#flowAssigned(qkv, (dqkv) =>
        this.#engine.attentionBackward({ ...shared, dqkv, dout: dout.tensor, out: saved }),
      ),
    );
  }

  /** Drops elements of `x`, whose buffer it takes over unless the value is saved; `undefined` returns `x` itself. */
  dropout(x: Variable, dropout: Dropout | undefined): Variable {
    if (dropout === undefined) return x;
    const inp = x.value;
    const out = this.#takeOver(x);
    this.#engine.dropout({ out: out.value, inp, dropout });
    return this.#record(out, [], [], (dout) =>
      this.#flowInPlace(x, out, dout, (dinp) => this.#engine.dropout({ out: dinp, inp: dout.tensor, dropout })),
    );
  }

  /** x + branch; takes over the buffer of `branch` unless its value is saved. */
  residual(x: Variable, branch: Variable): Variable {
    const [a, b] = [x.value, branch.value];
    const out = this.#takeOver(branch);
    this.#engine.add({ out: out.value, a, b });
    return this.#record(out, [], [], (dout) => {
      for (const input of [x, branch]) this.#share(input, dout);
    });
  }

  /**
   * Losses [N] of logits [..., V] against targets [N] int32 (-1: ignored). With `scale`, the gradient of scale · (sum of
   * losses) takes over the buffer of `logits`, and `backward` starts from it. The losses are the caller's to release.
   */
  crossEntropy(logits: Variable, targets: Tensor, scale?: number): Tensor {
    const losses = this.#engine.alloc([targets.size]);
    const shared = { losses, logits: logits.value, targets };
    if (scale === undefined) {
      this.#engine.crossEntropy(shared);
    } else {
      invariant(!logits.saved, 'the logits are still needed by another operation');
      this.#engine.crossEntropy({ ...shared, dlogits: logits.value, scale });
      logits.grad = { tensor: logits.value, owners: 1 };
      logits.buffer = undefined;
    }
    return losses;
  }

  /** One token against a cache (see Engine.attentionDecode): qkv [1, 1, 3C] to [1, 1, C]. It has no backward. */
  attentionDecode(qkv: Variable, cache: { keys: Tensor; values: Tensor }, position: number, nHead: number): Variable {
    const out = new Variable(this.#engine.alloc([1, 1, qkv.shape[2]! / 3]));
    this.#engine.attentionDecode({ out: out.value, qkv: qkv.value, ...cache, position, nHead });
    return this.#record(out, [], [], () => invariant(false, 'attentionDecode has no backward'));
  }

  /** Row `row` of x [N, C] as [1, 1, C]. It has no backward. */
  selectRow(x: Variable, row: number): Variable {
    const index = this.#engine.alloc([1, 1], 'int32');
    const out = new Variable(this.#engine.alloc([1, 1, x.shape[1]!]));
    this.#engine.upload(index, Int32Array.of(row));
    this.#engine.embeddingForward({ out: out.value, tokens: index, wte: x.value }); // a table look-up, as of an embedding
    return this.#record(out, [index], [], () => invariant(false, 'selectRow has no backward'));
  }

  /**
   * Replays the tape in reverse from the gradients that `crossEntropy` left, adds to the gradients of parameters, and
   * releases every buffer. `onGradReady` is called with a parameter's index when the last kernel that adds to its gradient
   * has been enqueued, once for each parameter used.
   */
  backward(onGradReady?: (parameterIndex: number) => void): void {
    for (;;) {
      const operation = this.#recorded.pop();
      if (operation === undefined) return;
      const { out, parameters } = operation;
      const dout = out.grad;
      if (dout !== undefined) operation.backward(dout);
      this.#free(operation);
      for (const parameter of parameters) {
        const pending = this.#pendingUses.get(parameter)! - 1;
        this.#pendingUses.set(parameter, pending);
        if (pending === 0) onGradReady?.(parameter.index);
      }
    }
  }

  /** Releases every buffer without a backward pass. Harmless when there is nothing left. */
  discard(): void {
    for (const operation of this.#recorded.splice(0)) this.#free(operation);
    this.#pendingUses.clear();
  }

  #record(
    out: Variable,
    scratch: readonly Tensor[],
    parameters: readonly Parameter[],
    backward: Recorded['backward'],
  ): Variable {
    this.#recorded.push({ out, scratch, parameters, backward });
    for (const parameter of parameters) {
      this.#pendingUses.set(parameter, (this.#pendingUses.get(parameter) ?? 0) + 1);
    }
    return out;
  }

  /** Whoever used this output ran its backward already, so nothing of the operation is needed any more. */
  #free({ out, scratch }: Recorded): void {
    if (out.buffer !== undefined) this.#engine.release(out.buffer);
    out.buffer = undefined;
    this.#disown(out);
    for (const tensor of scratch) this.#engine.release(tensor);
  }

  /** A variable in the buffer of `x` if its value is not needed any more, else in a new one. */
  #takeOver(x: Variable): Variable {
    if (x.saved) return new Variable(this.#engine.alloc(x.shape));
    const out = new Variable(x.value);
    x.buffer = undefined;
    return out;
  }

  /** Adds a kernel's gradient to that of `x`, in place if nobody shares it; for kernels that can accumulate. */
  #flow(x: Variable, write: Write): void {
    if (x.grad?.owners === 1) write(x.grad.tensor, true);
    else this.#flowAssigned(x, (dinp) => write(dinp, false));
  }

  /** The same for kernels that only assign. */
  #flowAssigned(x: Variable, write: (dinp: Tensor) => void): void {
    const fresh = this.#engine.alloc(x.shape);
    write(fresh);
    if (x.grad !== undefined) {
      this.#engine.add({ out: fresh, a: fresh, b: x.grad.tensor });
      this.#disown(x);
    }
    x.grad = { tensor: fresh, owners: 1 };
  }

  /** The same for kernels whose gradient may overwrite the gradient of their output. */
  #flowInPlace(x: Variable, out: Variable, dout: SharedTensor, write: (dinp: Tensor) => void): void {
    if (x.grad !== undefined || dout.owners > 1) {
      this.#flowAssigned(x, write);
      return;
    }
    write(dout.tensor);
    x.grad = dout;
    out.grad = undefined;
  }

  /** Adds `dout` to the gradient of `x`: `x` becomes one of its owners if it has none yet. */
  #share(x: Variable, dout: SharedTensor): void {
    if (x.grad === undefined) {
      x.grad = dout;
      dout.owners++;
    } else if (x.grad.owners === 1) {
      this.#engine.add({ out: x.grad.tensor, a: x.grad.tensor, b: dout.tensor });
    } else {
      const fresh = this.#engine.alloc(x.shape);
      this.#engine.add({ out: fresh, a: x.grad.tensor, b: dout.tensor });
      this.#disown(x);
      x.grad = { tensor: fresh, owners: 1 };
    }
  }

  #disown(x: Variable): void {
    if (x.grad !== undefined && --x.grad.owners === 0) this.#engine.release(x.grad.tensor);
    x.grad = undefined;
  }
}

/** The value of `x`, kept until the backward of its operation. */
function save(x: Variable): Tensor {
  x.saved = true;
  return x.value;
}

function gradOf(parameter: Parameter): Tensor {
  invariant(parameter.grad !== undefined, `${parameter.name} was allocated without a gradient`);
  return parameter.grad;
}
