/**
 * The recording of a tape (tape.ts): operations with their backward functions, replayed in reverse to compute gradients. It
 * owns every activation. All buffers come from the engine's pool and return to it with `discard`, even if a kernel has thrown
 * before, so a second step with the same shapes allocates nothing. It does not know individual operations.
 *
 * Gradients of activations: the first operation with a gradient for a variable writes it, later ones add to it. If an
 * operation passes on its output's gradient unchanged, or may overwrite it, the buffer changes its owner.
 *
 * A parameter without a gradient is frozen: nothing is computed for it, and no backward kernel runs for a variable that does not
 * depend on a trained parameter.
 */
import { invariant } from '../base/errors.ts';
import type { Engine } from '../engine/engine.ts';
import type { DType, HostArray, Shape, Tensor } from '../engine/tensor.ts';
import { Buffers } from './buffers.ts';
import type { Parameter } from './parameter.ts';
import { type FloatType, Variable } from './variable.ts';

/** The start of a backward pass. */
export interface Seed {
  /** The result of an operation of this tape. */
  readonly of: Variable;
  /** The gradient of the minimised quantity with respect to it, with its shape and type. It is read immediately and still belongs to the caller. */
  readonly grad: Tensor;
}

/** Called when a use of the parameter has added to its gradient. */
export type UseDone = (parameter: Parameter) => void;

interface Recorded {
  /** Absent where backward has nothing to wait for. */
  readonly out: Variable | undefined;
  /** Buffers of only this operation (statistics, pre-activations), released after its backward. */
  readonly scratch: readonly Tensor[];
  /** The trained parameters it uses, once each; their gradients are complete when `backward` returns. */
  readonly parameters: readonly Parameter[];
  /** `dout` is the gradient of `out`. It may report complete parameters before it returns. */
  readonly backward: (dout: Tensor, useDone: UseDone) => void;
}

/** The inputs of an operation, whose gradients its backward computes. */
export interface Inputs {
  readonly variables?: readonly (Variable | undefined)[];
  readonly parameters?: readonly (Parameter | undefined)[];
}

/** Runs a kernel that computes the gradient of an input into `dinp`, if it is needed. */
export type Write = (into: { readonly dinp?: Tensor; readonly accumulate?: boolean }) => void;

export class Recording {
  readonly engine: Engine;
  readonly buffers: Buffers;
  readonly #recorded: Recorded[] = [];
  /** For each parameter, the number of recorded operations that must still add to its gradient. */
  readonly #pendingUses = new Map<Parameter, number>();

  /** @param buffers those of the enclosing recording */
  constructor(engine: Engine, buffers = new Buffers(engine)) {
    this.engine = engine;
    this.buffers = buffers;
  }

  /** Operations recorded so far. */
  get length(): number {
    return this.#recorded.length;
  }

  /** The result of the last one. */
  get lastOut(): Variable | undefined {
    return this.#recorded.at(-1)?.out;
  }

  /** Parameters with a gradient that an operation uses. */
  get usedParameters(): Parameter[] {
    return [...this.#pendingUses.keys()];
  }

  /** A new variable; its contents are unspecified. */
  variable(shape: Shape, dtype: FloatType = 'float32'): Variable {
    return new Variable(shape, dtype, this.buffers.alloc(shape, dtype));
  }

  /** A new tensor with these contents. */
  upload(data: HostArray, shape: Shape): Tensor {
    const tensor = this.buffers.alloc(shape, uploadType(data));
    this.engine.upload(tensor, data);
    return tensor;
  }

  /** Records a computed operation; returns its result. */
  record<Out extends Variable | undefined>(
    out: Out,
    scratch: readonly Tensor[],
    inputs: Inputs,
    backward: Recorded['backward'],
  ): Out {
    const parameters = (inputs.parameters ?? []).filter(isTrained);
    if (out !== undefined) out.needsGrad = needsGrad(inputs);
    this.#recorded.push({ out, scratch, parameters, backward });
    for (const parameter of parameters) this.#addUse(parameter);
    return out;
  }

  /** Takes over the operations of another recording with the same buffers, as if they had been recorded here. */
  absorb(other: Recording): void {
    for (const { out, scratch, parameters, backward } of other.#recorded.splice(0)) {
      this.#recorded.push({ out, scratch, parameters, backward });
      for (const parameter of parameters) this.#addUse(parameter);
    }
    other.#pendingUses.clear();
  }

  #addUse(parameter: Parameter): void {
    this.#pendingUses.set(parameter, (this.#pendingUses.get(parameter) ?? 0) + 1);
  }

  /** Adds the gradients from which a backward pass starts. */
  sow(seeds: readonly Seed[]): void {
    for (const { of, grad } of seeds) {
      invariant(
        this.#recorded.some(({ out }) => out === of),
        'backward can start only from results of operations of this tape, before their backward',
      );
      invariant(of.needsGrad, 'cannot start backward from a variable that does not depend on a trained parameter');
      invariant(
        grad.dtype === of.dtype && grad.shape.join() === of.shape.join(),
        `expected a gradient ${of.dtype} [${of.shape}], as of its variable, received ${grad.dtype} [${grad.shape}]`,
      );
      of.uses++;
      this.flowAssigned(of, (dout) => this.engine.copy({ out: dout, inp: grad }));
    }
  }

  /** Runs the backward of every operation from the last to the first. @param onGradReady called with each parameter whose gradient is final */
  replay(onGradReady: UseDone): void {
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

  /** Releases the buffers of the operations without a backward pass. */
  forget(): void {
    for (const operation of this.#recorded.splice(0)) this.#free(operation);
    this.#pendingUses.clear();
  }

  /** Releases every buffer, including those of a failed operation. */
  discard(): void {
    this.forget();
    this.buffers.releaseAll();
  }

  /** Adds a kernel's gradient to that of `x`, if `x` needs one; for kernels that can accumulate. */
  flow(x: Variable, write: Write): void {
    if (!x.needsGrad) write({});
    else if (x.grad !== undefined) write({ dinp: x.grad, accumulate: true });
    else this.flowAssigned(x, (dinp) => write({ dinp }));
  }

  /** The same for kernels that only assign. */
  flowAssigned(x: Variable, write: (dinp: Tensor) => void): void {
    const fresh = this.buffers.alloc(x.shape, x.dtype);
    write(fresh);
    this.give(x, fresh);
  }

  /** Moves the gradient of `out` to that of `x`, adding them. */
  handOn(out: Variable, x: Variable): void {
    this.give(x, out.grad!);
    out.grad = undefined;
  }

  /** Adds `grad`, whose buffer it takes over, to the gradient of `x`. */
  give(x: Variable, grad: Tensor): void {
    const before = x.grad;
    if (before !== undefined) {
      this.engine.add({ out: grad, a: grad, b: before });
      this.buffers.release(before);
    }
    x.grad = grad;
  }

  /** All users of this output have run their backward, so the operation is no longer needed. */
  #free({ out, scratch }: Recorded): void {
    if (out?.grad !== undefined) this.buffers.release(out.grad);
    if (out !== undefined) out.grad = undefined;
    if (out?.buffer !== undefined && !out.kept) {
      this.buffers.release(out.buffer);
      out.buffer = undefined;
    }
    for (const tensor of scratch) this.buffers.release(tensor);
  }
}

function uploadType(data: HostArray): DType {
  if (data instanceof Int32Array) return 'int32';
  return data instanceof Uint16Array ? 'bfloat16' : 'float32';
}

function isTrained(parameter: Parameter | undefined): parameter is Parameter {
  return parameter?.grad !== undefined;
}

/** Whether any of these is trained or depends on a trained parameter. */
export function needsGrad({ variables = [], parameters = [] }: Inputs): boolean {
  return variables.some((variable) => variable?.needsGrad) || parameters.some(isTrained);
}
