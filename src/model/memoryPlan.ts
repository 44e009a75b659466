/** The memory that training needs, from a step that is planned without computing. */
import { labelsOf, type ModelConfig, networkOf } from '../architecture/registry.ts';
import { declaredTensors, isTrainedBy, type OptimizerKind, type Trainable } from '../architecture/trainable.ts';
import type { Engine } from '../engine/engine.ts';
import { planEngine } from '../engine/registry.ts';
import type { TensorGroup } from '../engine/tensor.ts';
import type { ActivationRecompute, Precision } from './computing.ts';
import { Model } from './model.ts';
import { applyMuon } from './muon.ts';
import { Parameters } from './parameterStore.ts';
import { planReference } from './referenceModel.ts';
import { Tape } from './tape.ts';
import type { Variable } from './variable.ts';

/** Maximum size of the state that the first worker holds twice, if an update is due before a checkpoint is sent. */
export function checkpointCopyBytes(
  config: ModelConfig,
  trainable: Trainable = 'all',
  optimizer: { readonly ema?: number; readonly kind?: OptimizerKind } = {},
): number {
  const sizeOf = (shape: readonly number[]) => shape.reduce((product, length) => product * length, 1);
  const tensors = declaredTensors(config, trainable, optimizer);
  return tensors.reduce((sum, { shape, parts }) => sum + 4 * parts.length * sizeOf(shape), 0);
}

/** Bytes that training needs on one worker. */
export interface MemoryEstimate {
  /** Their values, and with LoRA the matrices that products read: the adapted weights with their adapters added. */
  readonly parameters: number;
  readonly gradients: number;
  /** AdamW's first and second moments, and Muon's momenta. */
  readonly moments: number;
  /** The model at the start of the run, only for policy gradients; 0 if it is the trained model without its adapters. */
  readonly reference?: number;
  /** Averages of the trained parameters (`optimizer.ema`); absent without them. */
  readonly average?: number;
  /**
   * Everything that exists only for a time: what forward keeps for backward, gradients of activations, and logits; or the caches of
   * rollouts, if they are larger.
   */
  readonly activations: number;
  /** Buffers through which gradients are copied to the host, for a device with memory of its own. */
  readonly transfers?: number;
  /** A part of `activations`: keys and values of the completions that are drawn together, before each iteration's steps. Only for policy gradients. */
  readonly caches?: number;
  readonly total: number;
}

/** Completions that a worker draws together. */
export interface DrawnCompletions {
  readonly count: number;
  /** Largest number of tokens of one with its prompt, at most blockSize. */
  readonly tokens: number;
}

/**
 * The engine memory of one training worker, whose microbatches have `microBatchSize` sequences of blockSize tokens: on the native engine, or on that of
 * `plannedOn`. The process itself and the scratch space of the engine's threads, together slightly more than 100 MiB, are not included.
 */
export function memoryPerWorker(
  config: ModelConfig,
  {
    microBatchSize: B,
    activationRecompute,
    precision,
    trainable = 'all',
    pairs = false,
    policy,
    ema = 0,
    kind = 'adamw',
    plannedOn,
  }: {
    microBatchSize: number;
    activationRecompute?: ActivationRecompute | undefined;
    precision?: Precision | undefined;
    /** Which parameters are trained. Default: all. */
    trainable?: Trainable | undefined;
    /** Whether a sample is a pair of sequences, whose loss is computed on the host. Default false. */
    pairs?: boolean;
    /** For a run that learns from rollouts, and so has a reference: how many completions are drawn together, and their tokens with a prompt. */
    policy?: DrawnCompletions | undefined;
    /** Decay of the average of the parameters; 0 for none, the default. */
    ema?: number | undefined;
    /** Which optimizer updates the matrices inside of blocks. Default AdamW. */
    kind?: OptimizerKind | undefined;
    /** A fresh engine that computes nothing, of a device with memory of its own. Default: that of the native engine. */
    plannedOn?: Engine | undefined;
  },
): MemoryEstimate {
  const engine = plannedOn ?? planEngine();
  const isTrained = isTrainedBy(trainable);
  const { specs, valueHead, encode } = networkOf(config);
  const muon = kind === 'muon';
  const parameters = new Parameters(engine, specs, { training: true, isTrained, averaged: ema > 0, muon });
  const model = new Model(engine, config, parameters);
  const beforeReference = engine.memory().bytesInUse;
  if (policy) planReference(engine, config, isTrained);
  const state = engine.memory().bytesInUse;
  const tape = new Tape(engine, precision);
  const rows = pairs ? 2 * B : B;
  // Devices look at the tokens before they take memory for their gradients.
  const integers = (shape: readonly number[]) => {
    const tensor = engine.alloc(shape, 'int32');
    if (plannedOn !== undefined) engine.upload(tensor, new Int32Array(tensor.size));
    return tensor;
  };
  const tokens = integers([rows, config.blockSize]);
  const targets = integers([rows * config.blockSize]);
  const source = encode && {
    tokens: integers([rows, config.blockSize]),
    lengths: new Int32Array(rows).fill(config.blockSize),
  };
  const dropout = { seed: 0, step: 0, firstSample: 0 };
  const backwardFrom = (outputs: readonly Variable[]) =>
    tape.backward(outputs.map((of) => ({ of, grad: engine.alloc(of.shape) })));
  const options = { training: true, activationRecompute, dropout, source };
  if (valueHead !== undefined) {
    backwardFrom(Object.values(model.lossesAndValues(tape, tokens, targets, options)));
  } else if (pairs || policy) {
    const isScored = labelsOf(config).length > 0;
    backwardFrom([isScored ? model.forward(tape, tokens, options) : model.losses(tape, tokens, targets, options)]);
  } else {
    model.losses(tape, tokens, targets, { activationRecompute, lossScale: 1, dropout, source });
    tape.backward();
  }
  tape.discard();
  if (muon) {
    for (const tensor of [tokens, targets]) engine.release(tensor);
    const rates = { learningRate: 0, weightDecay: 0, momentum: 0, gradScale: 1 };
    applyMuon(engine, parameters, { ...rates, averageWeight: undefined });
  }
  const transfers = plannedOn === undefined ? 0 : planTransfers(plannedOn, parameters.grads);
  const caches = policy && planCaches(engine, model, policy, plannedOn !== undefined);
  const total = engine.memory().bytesPeak;
  const bytesOf = (groups: readonly TensorGroup[]) => groups.reduce((sum, { length }) => sum + 4 * length, 0);
  return {
    parameters: bytesOf(parameters.allValues) + parameters.derivedBytes,
    gradients: bytesOf([parameters.grads]),
    moments: bytesOf([parameters.m, parameters.v]),
    ...(policy && { reference: state - beforeReference }),
    ...(parameters.average && { average: bytesOf([parameters.average]) }),
    activations: total - state - transfers,
    ...(transfers > 0 && { transfers }),
    ...(caches !== undefined && { caches }),
    total,
  };
}

/** Bytes of the buffers through which all gradients are copied to the host, before the first has arrived. */
function planTransfers(engine: Engine, grads: TensorGroup): number {
  const before = engine.memory().bytesPeak;
  const piece = engine.hostRange(grads, 0, Math.min(grads.length, pieceLength));
  for (let from = 0; from < grads.length; from += piece.length) {
    const to = Math.min(grads.length, from + piece.length);
    void engine.copyOut(grads, from, to, piece.subarray(0, to - from));
  }
  return engine.memory().bytesPeak - before;
}

/** About as many numbers as in a bucket. */
const pieceLength = 2 ** 20;

/** Bytes of the keys and values of completions that are complete. They grow with passes over tokens, of which those at powers of 2 suffice. */
function planCaches(engine: Engine, model: Model, { count, tokens }: DrawnCompletions, isOnDevice: boolean): number {
  const before = engine.memory().bytesInUse;
  const tape = new Tape(engine);
  const token = engine.alloc([1, 1], 'int32');
  if (isOnDevice) engine.upload(token, Int32Array.of(0));
  for (let i = 0; i < count; i++) {
    const cache = model.newCache();
    for (let length = 1; length < 2 * tokens; length *= 2) {
      model.decode(tape, token, { cache, position: Math.min(length, tokens) - 1 });
      tape.discard();
    }
  }
  engine.release(token);
  return engine.memory().bytesInUse - before;
}
