/**
 * A weight with an adapter (LoRA): the model computes with one matrix W + scale · (B·A)ᵀ, which is formed once after each change of W, A
 * or B, and not with three. So every kernel, fusion and precision applies to it, and a merged model computes the same bits. Backward
 * forms the gradient of that matrix in a scratch tensor, and projects it to A and B at once. Rationale: docs/decisions/lora.md.
 *
 * All products are linear layers with r rows, r the rank.
 */
import type { Engine } from '../engine/engine.ts';
import type { Tensor } from '../engine/tensor.ts';
import type { Buffers } from './buffers.ts';

/** The tensors of an adapted weight. */
export interface AdaptedTensors {
  /** W [inputs, outputs], or [outputs, inputs] if `weightTransposed`. */
  readonly weight: Tensor;
  readonly weightTransposed: boolean;
  /** Receives W + scale · (B·A)ᵀ, or W + scale · B·A if `weightTransposed`. */
  readonly effective: Tensor;
  /** Receives scale · Bᵀ [r, outputs]. */
  readonly scaledB: Tensor;
  /** scale · I [r, r]: a product with it transposes and scales. */
  readonly scaledIdentity: Tensor;
}

/** A or B, and the tensor that accumulates its gradient if it is trained. */
interface Factor {
  readonly value: Tensor;
  readonly grad: Tensor | undefined;
}

/** A weight with its adapter, whose factors are parameters. */
export class AdaptedWeight<F extends Factor = Factor> {
  /** A [r, inputs]. */
  readonly a: F;
  /** B [outputs, r]. */
  readonly b: F;
  readonly #engine: Engine;
  readonly #tensors: AdaptedTensors;

  constructor(engine: Engine, a: F, b: F, tensors: AdaptedTensors) {
    this.#engine = engine;
    this.a = a;
    this.b = b;
    this.#tensors = tensors;
  }

  /** W with the addition, in its shape, since the last `rebuild`. */
  get effective(): Tensor {
    return this.#tensors.effective;
  }

  /** Whether backward needs the gradient of `effective`. */
  get isTrained(): boolean {
    return this.a.grad !== undefined || this.b.grad !== undefined;
  }

  /** W, A or B has changed. */
  rebuild(): void {
    const { weight, weightTransposed, effective, scaledB, scaledIdentity } = this.#tensors;
    this.#engine.linearForward({ inp: scaledIdentity, weight: this.b.value, weightTransposed: true, out: scaledB });
    this.#engine.copy({ out: effective, inp: weight });
    this.#engine.linearBackward({
      inp: this.a.value,
      weight,
      weightTransposed,
      dout: scaledB,
      dweight: effective,
    });
  }

  /** Adds to the gradients of A and B what follows from `gradient`, that of `effective`. */
  project(gradient: Tensor, buffers: Buffers): void {
    const { scaledB, scaledIdentity, weightTransposed } = this.#tensors;
    const { a, b } = this;
    if (b.grad !== undefined) {
      // A·G [r, outputs]: the transposed gradient of B, not yet scaled.
      const product = buffers.alloc(scaledB.shape);
      this.#engine.linearForward({ inp: a.value, weight: gradient, weightTransposed, out: product });
      this.#engine.linearBackward({
        inp: scaledIdentity,
        weight: b.value,
        weightTransposed: true,
        dout: product,
        dweight: b.grad,
      });
      buffers.release(product);
    }
    if (a.grad !== undefined) {
      this.#engine.linearForward({
        inp: scaledB,
        weight: gradient,
        weightTransposed: !weightTransposed,
        out: a.grad,
        residual: a.grad,
      });
    }
  }
}

/** scale · I [size, size]. */
export function scaledIdentity(size: number, scale: number): Float32Array {
  const numbers = new Float32Array(size * size);
  for (let i = 0; i < size; i++) numbers[i * size + i] = scale;
  return numbers;
}
