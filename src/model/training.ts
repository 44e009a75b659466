/**
 * One replica in training: forward and backward over microbatches, evaluation, and the update. It does not know
 * that training is distributed: it reports final gradients, and the caller may change them before `applyAdamw`.
 */
import type { IsTrained } from '../architecture/parameters.ts';
import type { ModelConfig } from '../architecture/registry.ts';
import type { OptimizerKind } from '../architecture/trainable.ts';
import type { Batch, WeighedBatch } from '../base/batch.ts';
import { UserError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import type { Sums } from '../base/sums.ts';
import type { Engine } from '../engine/engine.ts';
import { averageWeight } from './averageWeight.ts';
import type { ActivationRecompute, Precision } from './computing.ts';
import { checkFinite } from './divergence.ts';
import { evaluateBatches } from './evaluation.ts';
import { Model } from './model.ts';
import { applyMuon } from './muon.ts';
import { nextToken } from './objectives/nextToken.ts';
import { checkObjective, type Objective, readSums } from './objectives/objective.ts';
import { parameterSpecs } from './parameterOrder.ts';
import { Parameters } from './parameterStore.ts';
import type { DropoutSource } from './pass.ts';
import { Tape } from './tape.ts';

/** A microbatch and the weight of its gradients. */
export interface MicroStepOptions extends Batch {
  /**
   * The weight of each target's loss: 1 / (targets of the global batch), so that the gradients of all microbatches on all
   * ranks add up to the gradient of the mean loss.
   */
  readonly lossScale: number;
  /** Required if the model has dropout. */
  readonly dropout?: DropoutSource;
  /** Called during the backward pass with the index of each parameter when its gradient from this call is final. */
  readonly onGradReady?: (parameterIndex: number) => void;
  /** Measures the milliseconds of both passes, which requires waiting for the device between them. */
  readonly phaseTimes?: PhaseTimes;
}

/** Milliseconds of the passes, added up. */
export interface PhaseTimes {
  /** Milliseconds of forward. */
  forwardMs: number;
  /** Milliseconds of backward. */
  backwardMs: number;
}

/** The update of one step: the `optimizer` group of a config, and the learning rate. */
export interface AdamwStep {
  /** 1 for the first update. */
  readonly step: number;
  /** The learning rate of this step. */
  readonly learningRate: number;
  /** Decay rate of the first moment. */
  readonly beta1: number;
  /** Decay rate of the second moment. */
  readonly beta2: number;
  /** Prevents division by zero. */
  readonly eps: number;
  /** What the trainer was made for: `muon` with `muon`, otherwise `adamw`. Default: that. */
  readonly kind?: OptimizerKind;
  /** Decay rate of Muon's average of gradients, for a trainer with `muon`. Default 0.95. */
  readonly momentum?: number;
  /** Weight decay, applied to matrices only. */
  readonly weightDecay: number;
  /** The maximum global norm of the gradient; 0 disables clipping. */
  readonly gradClip: number;
  /**
   * Decay of the exponential moving average of the parameters, above 0 and below 1 in a trainer with `averaged`. Otherwise 0, the
   * default.
   */
  readonly ema?: number;
  /** The global norm if already known (from another rank, for bit-for-bit identical replicas); otherwise it is computed. */
  readonly gradNorm?: number;
}

/** Keller Jordan's. */
const defaultMomentum = 0.95;

/** A batch with a weight is accepted too. */
const microStepNames = {
  sampleCount: true,
  arrays: true,
  weight: true,
  lossScale: true,
  dropout: true,
  onGradReady: true,
  phaseTimes: true,
} satisfies OptionNames<MicroStepOptions & WeighedBatch>;

const adamwNames = {
  step: true,
  learningRate: true,
  beta1: true,
  beta2: true,
  eps: true,
  kind: true,
  momentum: true,
  weightDecay: true,
  gradClip: true,
  ema: true,
  gradNorm: true,
} satisfies OptionNames<AdamwStep>;

/** Throws a UserError if the engine does not support the precision. */
export function checkPrecision(engine: Engine, precision: Precision): void {
  if (precision === 'bf16') engine.release(engine.alloc([1], 'bfloat16'));
  if (precision !== 'f16' || engine.hasFloat16 === true) return;
  throw new UserError(
    `engine.precision is f16, but ${engine.description} has no products of float16 numbers: ` +
      (engine.deviceKind === 'gpu'
        ? 'set it to float32, update the driver of the GPU, or select another one with engine.device (launch doctor lists them with shader-f16)'
        : 'set it to float32, or engine.name to webgpu on a machine with a GPU'),
  );
}

/** How a replica trains. */
export interface TrainerOptions {
  /** Equal seeds give equal initial parameters. */
  readonly seed: number;
  /** The objective. Default: the next token. */
  readonly objective?: Objective;
  /** The activations that backward recomputes. Default `none`. */
  readonly activationRecompute?: ActivationRecompute;
  /** Default `float32`. */
  readonly precision?: Precision | undefined;
  /** Selects the trained parameters; the others keep their values and need no gradients, moments or computation of gradients. Default: all. */
  readonly isTrained?: IsTrained | undefined;
  /**
   * Keeps an average of the trained parameters, for `ema` of `applyAdamw`. `evaluate` uses the average, and a checkpoint has it as its
   * model. Default false.
   */
  readonly averaged?: boolean | undefined;
  /** `applyAdamw` updates the matrices inside of blocks by Muon, which keeps no second moment of them. Default false. */
  readonly muon?: boolean | undefined;
}

const trainerNames = {
  seed: true,
  objective: true,
  activationRecompute: true,
  precision: true,
  isTrained: true,
  averaged: true,
  muon: true,
} satisfies OptionNames<TrainerOptions>;

/** The result of an update. */
export interface AppliedStep {
  /** The Euclidean norm of the complete gradient, before clipping. */
  readonly gradNorm: number;
  /** Whether a gradient was too large for float16, so that nothing was updated; only with precision f16. */
  readonly skipped?: boolean;
}

/** A microbatch that the device may still be computing. */
export interface EnqueuedMicroStep {
  /** Resolves to its sums when they are read. */
  readonly sums: Promise<Sums>;
}

/** A replica in training: parameters, gradients and moments on an engine, and the operations on them. */
export class Trainer {
  /** The engine, which the caller must dispose of. */
  readonly engine: Engine;
  /** Parameter values, gradients and moments. */
  readonly parameters: Parameters;
  /** The model that it trains. */
  readonly model: Model;
  /** The objective. */
  readonly objective: Objective;
  /** The precision of products and attention in training and evaluation. */
  readonly precision: Precision;
  readonly #activationRecompute: ActivationRecompute;
  readonly #kind: OptimizerKind;
  /** Whether the gradients are zero, as `applyAdamw` leaves them; false once a microbatch has started to add to them. */
  #gradsAreZero = true;

  /** Allocates parameters, gradients and moments on the engine, which must support the precision, and initialises the parameters. UserError for an unknown option, and for an objective that does not fit the model. */
  constructor(engine: Engine, config: ModelConfig, options: TrainerOptions) {
    checkOptionNames('Trainer', options, trainerNames);
    this.engine = engine;
    this.objective = options.objective ?? nextToken;
    checkObjective(this.objective, config);
    this.#activationRecompute = options.activationRecompute ?? 'none';
    this.precision = options.precision ?? 'float32';
    checkPrecision(engine, this.precision);
    const { isTrained, averaged, muon = false } = options;
    this.#kind = muon ? 'muon' : 'adamw';
    this.parameters = new Parameters(engine, parameterSpecs(config), {
      training: true,
      isTrained,
      averaged,
      muon,
      scaled: this.precision === 'f16',
    });
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
   * The same without waiting for the device, which computes the next microbatch while the sums of this one are read. Wait for them
   * periodically; nothing else prevents the host from running far ahead.
   */
  async enqueueMicroStep(options: MicroStepOptions): Promise<EnqueuedMicroStep> {
    checkOptionNames('microStep', options, microStepNames);
    const { dropout, phaseTimes, lossScale, onGradReady } = options;
    const { lossScaling } = this.parameters;
    const scale = lossScaling === undefined ? lossScale : lossScale * (await lossScaling.current()).scale;
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
        await read; // which waits for both passes
        phaseTimes.forwardMs += afterForward - start;
        phaseTimes.backwardMs += performance.now() - afterForward;
      }
      return { sums: read };
    } finally {
      tape.discard(); // in any case, returns all buffers to the pool
    }
  }

  /**
   * The objective's sums over the targets of one or more batches, like those of `microStep`, without dropout and gradients. With `ema`,
   * of the averaged parameters.
   */
  evaluate(batches: Batch | Iterable<Batch>): Promise<Sums> {
    const all = Symbol.iterator in batches ? batches : [batches];
    return this.parameters.withAverage(() => evaluateBatches(this, all));
  }

  /** Discards the gradients of all microbatches since the last update. */
  zeroGrads(): void {
    if (this.#gradsAreZero) return;
    this.engine.zeroGroup(this.parameters.grads);
    this.#gradsAreZero = true;
  }

  /** The Euclidean norm of the complete gradient. */
  async gradNorm(): Promise<number> {
    const norm = Math.sqrt(await this.engine.squaredNorm(this.parameters.grads));
    const scaling = await this.parameters.lossScaling?.current();
    return norm / (scaling?.scale ?? 1);
  }

  /**
   * Clips the gradient to `gradClip`, updates every parameter and its average, and zeroes the gradients. In a trainer with `muon`, Muon
   * updates the matrices inside of blocks, and AdamW all others. Resolves to the norm before clipping.
   * A norm that is not finite is a UserError, and nothing is updated: the run has diverged. So is an `ema` that does not fit the trainer.
   * With precision f16 such a step is skipped, and the scale of the loss halved: then only the gradients change, to zero.
   */
  async applyAdamw(options: AdamwStep): Promise<AppliedStep> {
    checkOptionNames('applyAdamw', options, adamwNames);
    const { gradClip, weightDecay, ema = 0, gradNorm = await this.gradNorm(), ...others } = options;
    const { momentum = defaultMomentum, kind, ...shared } = others;
    const scaling = await this.parameters.lossScaling?.current();
    // The optimizer does not count steps that were skipped.
    const step = options.step - (scaling?.skippedSteps ?? 0);
    const average = this.#average(ema, step);
    this.#checkKind(kind);
    await this.parameters.lossScaling?.advance(Number.isFinite(gradNorm));
    if (scaling !== undefined && !Number.isFinite(gradNorm)) {
      this.#gradsAreZero = false;
      this.zeroGrads();
      return { gradNorm, skipped: true };
    }
    checkFinite(`the norm of the gradient of step ${options.step}`, gradNorm);
    const clipped = gradClip > 0 && gradNorm > gradClip;
    const clipScale = clipped ? gradClip / (gradNorm + 1e-6) : 1; // the 1e-6 is PyTorch's
    const gradScale = clipScale / (scaling?.scale ?? 1);
    const { trained, values: params, grads, m, v, updatedBy } = this.parameters;
    const decays = trained.map(({ decay }) => (decay ? weightDecay : 0));
    const update = { ...shared, step, weightDecay: decays, gradScale, zeroGrads: true, ...(average && { average }) };
    const { adamw: tensors, muon } = updatedBy;
    if (tensors.length > 0) this.engine.adamw({ params, grads, m, v, tensors, ...update });
    if (muon.length > 0) {
      const { learningRate } = shared;
      const rates = { learningRate, weightDecay, momentum, gradScale, averageWeight: average?.weight };
      applyMuon(this.engine, this.parameters, rates);
    }
    this.parameters.valuesChanged();
    this.#gradsAreZero = true;
    return { gradNorm };
  }

  #checkKind(kind: OptimizerKind = this.#kind): void {
    if (kind === this.#kind) return;
    throw new UserError(
      `the options of applyAdamw: expected kind to be ${this.#kind}, as in the trainer, received ${kind}`,
    );
  }

  #average(ema: number, step: number) {
    const { average: group } = this.parameters;
    if (group === undefined ? ema === 0 : ema > 0 && ema < 1) {
      return group && { group, weight: averageWeight(ema, step) };
    }
    const expected =
      group === undefined
        ? '0 in a trainer without averaged'
        : 'a number above 0 and below 1 in a trainer with averaged';
    throw new UserError(`the options of applyAdamw: expected ema to be ${expected}, received ${ema}`);
  }
}
