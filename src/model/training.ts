/**
 * One replica in training: forward and backward over microbatches, evaluation, and the AdamW update. It never learns that
 * it is distributed: it says which gradients are final, and whoever drives it may change them before `applyAdamw`.
 */
import type { IsTrained } from '../architecture/parameters.ts';
import type { ModelConfig } from '../architecture/registry.ts';
import type { Batch } from '../base/batch.ts';
import type { Sums } from '../base/sums.ts';
import type { Engine } from '../engine/engine.ts';
import type { ActivationRecompute, Precision } from './computing.ts';
import { checkFinite } from './divergence.ts';
import { evaluateBatches } from './evaluation.ts';
import { Model } from './model.ts';
import { nextToken } from './objectives/nextToken.ts';
import { type Objective, readSums } from './objectives/objective.ts';
import { parameterSpecs } from './parameterOrder.ts';
import { Parameters } from './parameterStore.ts';
import type { DropoutSource } from './pass.ts';
import { Tape } from './tape.ts';

/** A microbatch and what its gradients weigh. */
export interface MicroStepOptions extends Batch {
  /**
   * The weight of each target's loss: 1 / (targets of the global batch), so that the gradients of all microbatches on all
   * ranks add up to the gradient of the mean loss.
   */
  readonly lossScale: number;
  /** Must be there if the model has dropout. */
  readonly dropout?: DropoutSource;
  /** Called during the backward pass with the index of each parameter whose gradient gets nothing more from this call. */
  readonly onGradReady?: (parameterIndex: number) => void;
  /** Adds the milliseconds of both passes, at the price of waiting for the device between them. */
  readonly phaseTimes?: PhaseTimes;
}

/** Milliseconds of the passes, added up. */
export interface PhaseTimes {
  /** Of forward. */
  forwardMs: number;
  /** Of backward. */
  backwardMs: number;
}

/** The update of one step: the `optimizer` group of a config, and the learning rate. */
export interface AdamwStep {
  /** 1 for the first update. */
  readonly step: number;
  /** Of this step. */
  readonly learningRate: number;
  /** Decay rate of the first moment. */
  readonly beta1: number;
  /** Decay rate of the second moment. */
  readonly beta2: number;
  /** Keeps the division finite. */
  readonly eps: number;
  /** Applied to matrices only. */
  readonly weightDecay: number;
  /** The largest global norm of the gradient; 0 for no clipping. */
  readonly gradClip: number;
  /** The global norm where it is known already (from another rank, to be equal to the bit); else it is computed. */
  readonly gradNorm?: number;
}

/** Throws a UserError if the engine has not the numbers of the precision. */
export function checkPrecision(engine: Engine, precision: Precision): void {
  if (precision === 'bf16') engine.release(engine.alloc([1], 'bfloat16'));
}

/** How a replica trains. */
export interface TrainerOptions {
  /** Equal seeds give equal initial parameters. */
  readonly seed: number;
  /** What the model learns. Default: the next token. */
  readonly objective?: Objective;
  /** Which activations backward computes again. Default `none`. */
  readonly activationRecompute?: ActivationRecompute;
  /** Default `float32`. */
  readonly precision?: Precision | undefined;
  /** Which parameters are trained; the others keep their values, and cost no memory and no computation. Default: all. */
  readonly isTrained?: IsTrained | undefined;
}

/** What an update was. */
export interface AppliedStep {
  /** The Euclidean norm of the whole gradient, before clipping. */
  readonly gradNorm: number;
}

/** A microbatch that the device may still compute. */
export interface EnqueuedMicroStep {
  /** Resolves to its sums when they have been read. */
  readonly sums: Promise<Sums>;
}

/** A replica in training: parameters, gradients and moments on an engine, and what is done with them. */
export class Trainer {
  /** What it computes on; stays the caller's to dispose. */
  readonly engine: Engine;
  /** Values, gradients and moments. */
  readonly parameters: Parameters;
  /** What it trains. */
  readonly model: Model;
  /** What the model learns. */
  readonly objective: Objective;
  /** Of products and attention in training and evaluation. */
  readonly precision: Precision;
  readonly #activationRecompute: ActivationRecompute;
  /** As `applyAdamw` leaves them; not once a microbatch has begun to add to them, whether it ended or not. */
  #gradsAreZero = true;

  /** Allocates parameters, gradients and moments on the engine, which must have the precision, and initialises the parameters. */
  constructor(engine: Engine, config: ModelConfig, options: TrainerOptions) {
    this.engine = engine;
    this.objective = options.objective ?? nextToken;
    this.#activationRecompute = options.activationRecompute ?? 'none';
    this.precision = options.precision ?? 'float32';
    checkPrecision(engine, this.precision);
    const { isTrained } = options;
    this.parameters = new Parameters(engine, parameterSpecs(config), { training: true, isTrained });
    this.parameters.initialise(options.seed);
    this.model = new Model(engine, config, this.parameters);
  }

  /**
   * Adds one microbatch's gradients; resolves to the objective's sums over its targets: `loss`, unscaled, in nats, and `weight`, their
   * number.
   */
  async microStep(options: MicroStepOptions): Promise<Sums> {
    const { sums } = await this.enqueueMicroStep(options);
    return await sums;
  }

  /**
   * The same without waiting for the device, which goes on to the next microbatch while the sums of this one are read. Wait for them
   * now and then: nothing else keeps the host from running far ahead.
   */
  async enqueueMicroStep(options: MicroStepOptions): Promise<EnqueuedMicroStep> {
    const { dropout, phaseTimes, lossScale: scale, onGradReady } = options;
    const { engine, model, objective } = this;
    this.#gradsAreZero = false;
    const tape = new Tape(engine, this.precision);
    const start = performance.now();
    let afterForward = start;
    const onForward = async () => {
      await engine.finish();
      afterForward = performance.now();
    };
    try {
      const sums = await objective.step(tape, model, options, {
        scale,
        dropout,
        activationRecompute: this.#activationRecompute,
        onGradReady,
        onForward: phaseTimes && onForward,
      });
      const read = readSums(engine, sums);
      if (phaseTimes !== undefined) {
        await read; // and so for both passes
        phaseTimes.forwardMs += afterForward - start;
        phaseTimes.backwardMs += performance.now() - afterForward;
      }
      return { sums: read };
    } finally {
      tape.discard(); // whatever happens, all buffers are back in the pool
    }
  }

  /** The objective's sums over a batch's targets, as those of `microStep`, without dropout and without gradients. */
  evaluate(batch: Batch): Promise<Sums> {
    return evaluateBatches(this, [batch]);
  }

  /** Forgets the microbatches since the last update. */
  zeroGrads(): void {
    if (this.#gradsAreZero) return;
    this.engine.zeroGroup(this.parameters.grads);
    this.#gradsAreZero = true;
  }

  /** The Euclidean norm of the whole gradient. */
  async gradNorm(): Promise<number> {
    return Math.sqrt(await this.engine.squaredNorm(this.parameters.grads));
  }

  /**
   * Clips the gradient to `gradClip`, updates every parameter and zeroes the gradients. Resolves to the norm before clipping.
   * A norm that is not finite is a UserError, and nothing is updated: the run has diverged.
   */
  async applyAdamw(options: AdamwStep): Promise<AppliedStep> {
    const { gradClip, weightDecay, gradNorm = await this.gradNorm(), ...shared } = options;
    checkFinite(`the norm of the gradient of step ${options.step}`, gradNorm);
    const clipped = gradClip > 0 && gradNorm > gradClip;
    const gradScale = clipped ? gradClip / (gradNorm + 1e-6) : 1; // the 1e-6 is PyTorch's
    const { trained, values: params, grads, m, v } = this.parameters;
    const decays = trained.map(({ decay }) => (decay ? weightDecay : 0));
    this.engine.adamw({ params, grads, m, v, ...shared, weightDecay: decays, gradScale, zeroGrads: true });
    this.#gradsAreZero = true;
    return { gradNorm };
  }
}
