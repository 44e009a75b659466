/**
 * One replica in training: forward and backward over microbatches, evaluation, and the AdamW update. It never learns that
 * it is distributed: it says which gradients are final, and whoever drives it may change them before `applyAdamw`.
 */
import { invariant, UserError } from '../base/errors.ts';
import type { Engine, Tensor } from '../engine/engine.ts';
import type { ActivationRecompute, ModelConfig, Precision } from './config.ts';
import { type DropoutSource, GPT } from './gpt.ts';
import { Parameters } from './parameterStore.ts';
import { Tape } from './tape.ts';

/** Sequences of equal length, row after row: row b is [b·T, (b+1)·T). */
export interface Batch {
  /** (B, T). */
  readonly tokens: Int32Array;
  /** (B, T): the token that follows each, or -1 where there is nothing to predict. */
  readonly targets: Int32Array;
  /** B. */
  readonly batchSize: number;
  /** T, at most the model's blockSize. */
  readonly blockSize: number;
}

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

/** What an update was. */
export interface AppliedStep {
  /** The Euclidean norm of the whole gradient, before clipping. */
  readonly gradNorm: number;
}

/** A replica in training: parameters, gradients and moments on an engine, and what is done with them. */
export class Trainer {
  /** What it computes on; stays the caller's to dispose. */
  readonly engine: Engine;
  /** Values, gradients and moments. */
  readonly parameters: Parameters;
  /** What computes losses. */
  readonly model: GPT;
  readonly #activationRecompute: ActivationRecompute;
  readonly #precision: Precision;
  #losses = new Float32Array(0);
  /** As `applyAdamw` leaves them; not once a microbatch has begun to add to them, whether it ended or not. */
  #gradsAreZero = true;

  /** Allocates parameters, gradients and moments on the engine, which must have the precision, and initialises the parameters. */
  constructor(
    engine: Engine,
    config: ModelConfig,
    options: { seed: number; activationRecompute?: ActivationRecompute; precision?: Precision | undefined },
  ) {
    this.engine = engine;
    this.#activationRecompute = options.activationRecompute ?? 'none';
    this.#precision = options.precision ?? 'float32';
    checkPrecision(engine, this.#precision);
    this.parameters = new Parameters(engine, config, { training: true });
    this.parameters.initialise(options.seed);
    this.model = new GPT(engine, config, this.parameters);
  }

  /** Adds one microbatch's gradients; resolves to the sum of the losses of its targets, unscaled, in nats. */
  async microStep(options: MicroStepOptions): Promise<number> {
    const { dropout, phaseTimes, lossScale, onGradReady } = options;
    invariant(
      this.model.config.dropout === 0 || dropout !== undefined,
      'a model with dropout needs to know its samples',
    );
    this.#gradsAreZero = false;
    return await this.#withBatch(options, async (tape, tokens, targets) => {
      const start = performance.now();
      const activationRecompute = this.#activationRecompute;
      const losses = this.model.losses(tape, tokens, targets, { lossScale, dropout, activationRecompute });
      if (phaseTimes !== undefined) await this.engine.finish();
      const afterForward = performance.now();
      tape.backward(onGradReady);
      const lossSum = await this.#sum(losses); // waits for both passes
      if (phaseTimes !== undefined) {
        phaseTimes.forwardMs += afterForward - start;
        phaseTimes.backwardMs += performance.now() - afterForward;
      }
      return lossSum;
    });
  }

  /** The sum of the losses of a batch's targets, without dropout and without gradients. */
  async evaluate(batch: Batch): Promise<number> {
    return await this.#withBatch(batch, async (tape, tokens, targets) => {
      const losses = this.model.losses(tape, tokens, targets);
      return await this.#sum(losses);
    });
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
    if (!Number.isFinite(gradNorm)) {
      throw new UserError(
        `step ${options.step}: the norm of the gradient is ${gradNorm}, so training has diverged; ` +
          'use a lower schedule.learningRate, a longer schedule.warmupSteps or a smaller optimizer.gradClip',
      );
    }
    const clipped = gradClip > 0 && gradNorm > gradClip;
    const gradScale = clipped ? gradClip / (gradNorm + 1e-6) : 1; // the 1e-6 is PyTorch's
    const { specs, values: params, grads, m, v } = this.parameters;
    const decays = specs.map(({ decay }) => (decay ? weightDecay : 0));
    this.engine.adamw({ params, grads, m, v, ...shared, weightDecay: decays, gradScale, zeroGrads: true });
    this.#gradsAreZero = true;
    return { gradNorm };
  }

  /** Runs `body` with the batch on the device and a tape; whatever happens, all buffers are back in the pool after it. */
  async #withBatch<Result>(
    { tokens, targets, batchSize: B, blockSize: T }: Batch,
    body: (tape: Tape, tokens: Tensor, targets: Tensor) => Promise<Result>,
  ): Promise<Result> {
    invariant(tokens.length === B * T && targets.length === B * T, `expected ${B}·${T} tokens and targets`);
    const tape = new Tape(this.engine, this.#precision);
    try {
      return await body(tape, tape.upload(tokens, [B, T]), tape.upload(targets, [B * T]));
    } finally {
      tape.discard();
    }
  }

  /** Downloads the losses and adds them up in float64. */
  async #sum(losses: Tensor): Promise<number> {
    if (this.#losses.length !== losses.size) this.#losses = new Float32Array(losses.size);
    await this.engine.download(losses, this.#losses);
    let sum = 0;
    for (const loss of this.#losses) sum += loss;
    return sum;
  }
}
