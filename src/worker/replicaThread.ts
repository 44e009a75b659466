/**
 * The compute thread of a worker: owns the engine and the replica, and does what the agent asks, one task at a time. Run by
 * Piscina, which calls the exported functions by name; there is one such thread to a worker, so its state lives here.
 * It knows nothing of messages and ranks: it reports each bucket whose gradients are final, no more.
 */
import type { MessagePort } from 'node:worker_threads';
import type { ModelConfig } from '../architecture/registry.ts';
import { microBatches } from '../base/batch.ts';
import { invariant } from '../base/errors.ts';
import { addSums, noSums, type Sums } from '../base/sums.ts';
import { makeBuckets } from '../comm/buckets.ts';
import type { Config } from '../config/configTypes.ts';
import type { Engine, TensorGroup } from '../engine/engine.ts';
import { createEngine } from '../engine/registry.ts';
import type { Precision } from '../model/computing.ts';
import { checkFinite } from '../model/divergence.ts';
import { evaluateBatches } from '../model/evaluation.ts';
import { objectiveOf } from '../model/objectives/registry.ts';
import { Trainer } from '../model/training.ts';
import { ComputeSpans } from './computeSpans.ts';
import { GradientExchange } from './gradientExchange.ts';
import type { ApplyTask, BuildResult, BuildTask, EvaluateTask, StateTask, StepTask } from './replicaProtocol.ts';
import { outcomeOf } from './taskOutcome.ts';

interface Replica {
  readonly config: Config;
  readonly engine: Engine;
  readonly trainer: Trainer;
  readonly exchange: GradientExchange;
  readonly port: MessagePort;
  readonly wanted: Int32Array;
}

let replica: Replica | undefined;
/** Of the step that is traced. */
const spans = new ComputeSpans();

function built(): Replica {
  invariant(replica !== undefined, 'the replica is used before it is built');
  return replica;
}

/** Long enough for some slices of it on a machine that others use, short enough that nobody waits. */
const limitSeconds = 0.03;

/** What its threads reach, in the numbers that they multiply. */
function measureLimit(engine: Engine, precision: Precision): BuildResult['measured'] {
  const { threads = 1 } = engine;
  const flops = engine.peakFlops?.(precision, limitSeconds) ?? 0;
  return flops > 0 ? { threadFlops: flops / threads, threads } : undefined;
}

/** Creates the engine and the model with its initial parameters. */
async function buildReplica(task: BuildTask): Promise<BuildResult> {
  const { config, vocabSize, threads, trace, gradientPort, wanted } = task;
  const { name, device, precision } = config.engine;
  const plainEngine = await createEngine({ name, ...(device === 'auto' ? {} : { device }), threads });
  const engine = trace ? spans.observed(plainEngine) : plainEngine;
  const modelConfig: ModelConfig = { ...config.model, vocabSize };
  const { seed, activationRecompute } = config.train;
  const objective = objectiveOf(task.objective);
  const trainer = new Trainer(engine, modelConfig, { seed, objective, activationRecompute, precision });
  const { specs, grads, values, m, v } = trainer.parameters;
  const sizes = specs.map(({ size }) => size);
  const plan = makeBuckets({
    offsets: grads.offsets,
    sizes,
    length: grads.length,
    bucketBytesMax: config.comm.bucketBytesMax,
  });
  const exchange = new GradientExchange({
    engine,
    group: grads,
    plan,
    onReady: (attempt, bucket) => gradientPort.postMessage([attempt, bucket]),
  });
  if (!engine.isHost) {
    gradientPort.on('message', ([attempt, bucket]: [number, number]) => exchange.takeBack(attempt, bucket));
  }
  const state = engine.isHost && [values, m, v].map((group) => engine.hostRange(group, 0, group.length));
  replica = { config, engine, trainer, exchange, port: gradientPort, wanted };
  const measured = measureLimit(engine, precision);
  return {
    engine: engine.description,
    engineId: { engine: engine.name, device: engine.device, unit: engine.unit, precision },
    ...(measured && { measured }),
    tensors: specs.map((spec) => ({ name: spec.name, shape: [...spec.shape] })),
    gradients: exchange.shared,
    isInPlace: engine.isHost,
    buckets: plan.buckets,
    sizes,
    offsets: values.offsets,
    ...(state && { state }),
  };
}

/** Forward and backward of this rank's samples; afterwards its own share of the gradient is final. */
async function runStep({ attempt, step: update, sampleFrom, batch, globalWeight, trace }: StepTask): Promise<Sums> {
  const { config, trainer, exchange, wanted } = built();
  const { microBatchSize, seed } = config.train;
  const { dropout } = config.model;
  await exchange.begin(attempt);
  spans.begin(trace);
  trainer.zeroGrads(); // of a step that was not applied
  let sums = noSums;
  for (const { from, batch: micro } of microBatches(batch, microBatchSize)) {
    if (Atomics.load(wanted, 0) !== attempt) return noSums;
    const size = micro.sampleCount;
    const last = from + size === batch.sampleCount;
    const ended = spans.start(`microbatch ${from / microBatchSize}`);
    const added = await trainer.microStep({
      ...micro,
      lossScale: 1 / globalWeight,
      ...(dropout > 0 && { dropout: { seed, step: update, firstSample: sampleFrom + from } }),
      ...(last && { onGradReady: (index: number) => exchange.ready(index) }),
    });
    sums = addSums(sums, added);
    ended();
  }
  for (const [name, sum] of Object.entries(sums)) checkFinite(`the ${name} of step ${update}`, sum);
  await exchange.flush();
  return sums;
}

/** The global norm of the reduced gradient. Call once a step, after the ring and before `apply`. */
async function reducedGradNorm(): Promise<number> {
  const { trainer, exchange } = built();
  const ended = spans.start('gradient norm');
  await exchange.whenBack();
  const norm = await trainer.gradNorm();
  ended();
  return norm;
}

/** AdamW on the reduced gradient. */
async function applyAdamw({ step: update, learningRate, gradNorm: norm }: ApplyTask): Promise<void> {
  const { config, engine, trainer } = built();
  const { beta1, beta2, eps, weightDecay, gradClip } = config.optimizer;
  const ended = spans.start('optimizer');
  await trainer.applyAdamw({ step: update, learningRate, beta1, beta2, eps, weightDecay, gradClip, gradNorm: norm });
  await engine.finish();
  ended();
}

/** The objective's sums, in the microbatches of training. */
async function evaluateSums({ step: update, batch }: EvaluateTask): Promise<Sums> {
  const { config, trainer } = built();
  const parts = [...microBatches(batch, config.train.microBatchSize)];
  const sums = await evaluateBatches(
    trainer,
    parts.map((part) => part.batch),
  );
  for (const [name, sum] of Object.entries(sums)) checkFinite(`the validation ${name} after step ${update}`, sum);
  return sums;
}

/** Copies parameters and moments into `state`. */
async function copyStateOut({ state }: StateTask): Promise<void> {
  const { engine, trainer } = built();
  await engine.snapshot(stateGroups(trainer), state);
}

/** The inverse. */
async function copyStateIn({ state }: StateTask): Promise<void> {
  const { engine, trainer } = built();
  for (const [i, group] of stateGroups(trainer).entries()) engine.copyIn(group, 0, group.length, state[i]!);
  await engine.finish();
}

function stateGroups({ parameters: { values, m, v } }: Trainer): TensorGroup[] {
  return [values, m, v];
}

/** Ends the engine's threads. */
async function disposeReplica(): Promise<void> {
  await replica?.engine.dispose();
  replica?.port.close();
  replica = undefined;
}

// The tasks, by the names that replica.ts calls.
export const build = (task: BuildTask) => outcomeOf(() => buildReplica(task));
export const step = (task: StepTask) => outcomeOf(() => runStep(task));
export const gradNorm = () => outcomeOf(reducedGradNorm);
export const apply = (task: ApplyTask) => outcomeOf(() => applyAdamw(task));
export const takeSpans = () => outcomeOf(async () => spans.take());
export const evaluate = (task: EvaluateTask) => outcomeOf(() => evaluateSums(task));
export const exportState = (task: StateTask) => outcomeOf(() => copyStateOut(task));
export const importState = (task: StateTask) => outcomeOf(() => copyStateIn(task));
export const parameterHash = () => outcomeOf(async () => built().engine.checksum([built().trainer.parameters.values]));
export const stateHash = () => outcomeOf(async () => built().engine.checksum(stateGroups(built().trainer)));
export const dispose = () => outcomeOf(disposeReplica);
