/**
 * What a tape (tape.ts) has recorded, and how gradients flow back through it: operations with their backward, replayed in reverse. It
 * owns every activation: all buffers come from the engine's pool and are back in it after `discard`, wherever a kernel has thrown
 * before, so a second step of the same shapes allocates nothing. It knows no operation.
 *
 * Gradients of activations: the first operation that has one for a variable writes it, those after it add to it. Where an
 * operation hands its output's gradient on as it is, or may overwrite it, the buffer changes its owner.
 *
 * A parameter without a gradient is frozen: nothing is computed for it, and no kernel runs backward for a variable below which
 * nothing is trained.
 */
import { invariant } from '../base/errors.ts';
import type { Engine } from '../engine/engine.ts';
import type { Shape, Tensor } from '../engine/tensor.ts';
import { Buffers } from './buffers.ts';
import type { Parameter } from './parameterStore.ts';
import { type FloatType, Variable } from './variable.ts';

/** Where a backward pass starts. */
export interface Seed {
  /** What an operation of this tape gave. */
  readonly of: Variable;
  /** The gradient of what is minimised with respect to it: of its shape and type. Is read at once, and stays the caller's. */
  readonly grad: Tensor;
}

/** A use of the parameter has added to its gradient. */
export type UseDone = (parameter: Parameter) => void;

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
export interface Inputs {
  readonly variables?: readonly (Variable | undefined)[];
  readonly parameters?: readonly (Parameter | undefined)[];
}

/** Runs a kernel that gives the gradient of an input: into `dinp`, or not at all. */
export type Write = (into: { readonly dinp?: Tensor; readonly accumulate?: boolean }) => void;

export class Recording {
  readonly engine: Engine;
  readonly buffers: Buffers;
  readonly #recorded: Recorded[] = [];
  /** For each parameter, how many recorded operations have still to add to its gradient. */
  readonly #pendingUses = new Map<Parameter, number>();

  /** @param buffers of a recording that this one is within */
  constructor(engine: Engine, buffers = new Buffers(engine)) {
    this.engine = engine;
    this.buffers = buffers;
  }

  /** Operations recorded so far. */
  get length(): number {
    return this.#recorded.length;
  }

  /** What the last of them gives. */
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

  /** Notes down an operation that was computed; returns its result. */
  record<Out extends Variable | undefined>(
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

  /** Adds the gradients that a backward pass starts from. */
  sow(seeds: readonly Seed[]): void {
    for (const { of, grad } of seeds) {
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
      this.flowAssigned(of, (dout) => this.engine.copy({ out: dout, inp: grad }));
    }
  }

  /** Runs the backward of every operation from the last to the first. @param onGradReady told each parameter that gets nothing more */
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

  /** Releases every buffer, also those that a failed operation left. */
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

  /** The gradient of `out` is added to that of `x`, and is not that of `out` any more. */
  handOn(out: Variable, x: Variable): void {
    this.give(x, out.grad!);
    out.grad = undefined;
  }

  /** Adds `grad`, whose buffer is the receiver's now, to the gradient of `x`. */
  give(x: Variable, grad: Tensor): void {
    const before = x.grad;
    if (before !== undefined) {
      this.engine.add({ out: grad, a: grad, b: before });
      this.buffers.release(before);
    }
    x.grad = grad;
  }

  /** Whoever used this output ran its backward already, so nothing of the operation is needed any more. */
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

function isTrained(parameter: Parameter | undefined): parameter is Parameter {
  return parameter?.grad !== undefined;
}

/** Whether anything among or below these is trained. */
export function needsGrad({ variables = [], parameters = [] }: Inputs): boolean {
  return variables.some((variable) => variable?.needsGrad) || parameters.some(isTrained);
}
