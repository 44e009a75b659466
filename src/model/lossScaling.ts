/**
 * The loss scaling of a replica (base/lossScaling.ts). Every rank decides by the norm of the commit, so all skip the same steps. It is a part of
 * a replica's state: checkpoints have it, and workers that join receive it.
 */
import { encodeScaling, initialScaling, type ScalingState, scalingAfter } from '../base/lossScaling.ts';
import { scalingTensor } from '../base/stateParts.ts';
import type { Engine } from '../engine/engine.ts';
import type { TensorGroup } from '../engine/tensor.ts';

/** The loss scaling of a replica, in a group of its state. */
export class LossScaling {
  /** One tensor of three numbers. */
  readonly group: TensorGroup;
  readonly #engine: Engine;
  /** Undefined when `group` was written. */
  #state: ScalingState | undefined;

  /** Allocates its group. */
  constructor(engine: Engine) {
    this.#engine = engine;
    this.group = engine.allocGroup([scalingTensor.shape]);
  }

  /** That of a run's first step. */
  initialise(): void {
    this.#write(initialScaling);
  }

  /** The scaling of the next step. */
  async current(): Promise<ScalingState> {
    if (this.#state === undefined) {
      const numbers = new Float32Array(scalingTensor.shape[0]!);
      await this.#engine.download(this.group.tensors[0]!, numbers);
      const [scale = 1, steadySteps = 0, skippedSteps = 0] = numbers;
      this.#state = { scale, steadySteps, skippedSteps };
    }
    return this.#state;
  }

  /** A step is over. @param isApplied whether the norm of its gradient is finite */
  async advance(isApplied: boolean): Promise<void> {
    this.#write(scalingAfter(await this.current(), isApplied));
  }

  /** The group was written. */
  reload(): void {
    this.#state = undefined;
  }

  #write(state: ScalingState): void {
    this.#state = state;
    this.#engine.upload(this.group.tensors[0]!, encodeScaling(state));
  }
}
