/**
 * The compute thread of a worker: owns the engine and the replica, and does what the agent asks, one task at a time. Run by
 * Piscina, which calls the exported functions by name; there is one such thread to a worker, so its state lives here.
 * It knows nothing of messages and ranks: it reports each bucket whose gradients are final, no more.
 */
import { createHash } from 'node:crypto';
import type { MessagePort } from 'node:worker_threads';
import { invariant, UserError } from '../base/errors.ts';
import { makeBuckets } from '../comm/buckets.ts';
import type { Config } from '../config/configTypes.ts';
import type { Engine } from '../engine/engine.ts';
import { NativeEngine } from '../engine/native/nativeEngine.ts';
import { createEngine } from '../engine/registry.ts';
import type { ModelConfig, Precision } from '../model/config.ts';
import { Trainer } from '../model/training.ts';
import { ComputeSpans } from './computeSpans.ts';
import { GradientExchange } from './gradientExchange.ts';
import type {
  ApplyTask,
  BuildResult,
  BuildTask,
  EvaluateTask,
  LossSum,
  StateTask,
  StepTask,
} from './replicaProtocol.ts';
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
  if (!(engine instanceof NativeEngine)) return undefined;
  const flops = precision === 'bf16' ? engine.bf16Limit(limitSeconds) : engine.fmaLimit(limitSeconds);
  return flops > 0 ? { threadFlops: flops / engine.threads, threads: engine.threads } : undefined;
}

/** Creates the engine and the model with its initial parameters. */
async function buildReplica(task: BuildTask): Promise<BuildResult> {
  const { config, vocabSize, threads, trace, gradientPort, wanted } = task;
  const { name, device, precision } = config.engine;
  const plainEngine = await createEngine({ name, ...(device === 'auto' ? {} : { device }), threads });
  const engine = trace ? spans.observed(plainEngine) : plainEngine;
  const modelConfig: ModelConfig = { ...config.model, vocabSize };
  const { seed, activationRecompute } = config.train;
  const trainer = new Trainer(engine, modelConfig, { seed, activationRecompute, precision });
  const { specs, grads, values, m, v } = trainer.parameters;
  const sizes = specs.map(({ size }) => size);
  const plan = makeBuckets({
    offsets: grads.offsets,
    sizes,
    length: grads.length,
    bucketBytesMax: config.comm.bucketBytesMax,
  });
  const exchange = new GradientExchange(engine, grads, plan);
  const state = [values, m, v].map((group) => engine.hostViewOfGroup(group));
  replica = { config, engine, trainer, exchange, port: gradientPort, wanted };
  const measured = measureLimit(engine, precision);
  return {
    engine: engine.description,
    engineId: { engine: engine.name, device: engine.device, unit: engine.unit, precision },
    ...(measured && { measured }),
    tensors: specs.map((spec) => ({ name: spec.name, shape: [...spec.shape] })),
    gradients: exchange.shared,
    buckets: plan.buckets,
    sizes,
    ...(state.every((block) => block !== undefined) && { state }),
    offsets: values.offsets,
  };
}

/** Forward and backward of this rank's samples; afterwards its own share of the gradient is final. */
async function runStep(task: StepTask): Promise<LossSum> {
  const { config, trainer, exchange, port, wanted } = built();
  const { microBatchSize, seed } = config.train;
  const { blockSize, dropout } = config.model;
  exchange.begin(task.attempt);
  spans.begin(task.trace);
  trainer.zeroGrads(); // of a step that was not applied
  let lossSum = 0;
  for (let from = 0; from < task.sampleCount; from += microBatchSize) {
    if (Atomics.load(wanted, 0) !== task.attempt) return { lossSum: 0, targets: 0 };
    const size = Math.min(microBatchSize, task.sampleCount - from);
    const last = from + size === task.sampleCount;
    const range = [from * blockSize, (from + size) * blockSize] as const;
    const ended = spans.start(`microbatch ${from / microBatchSize}`);
    lossSum += await trainer.microStep({
      tokens: task.tokens.subarray(...range),
      targets: task.targets.subarray(...range),
      batchSize: size,
      blockSize,
      lossScale: 1 / task.globalTargets,
      ...(dropout > 0 && { dropout: { seed, step: task.step, firstSample: task.sampleFrom + from } }),
      ...(last && { onGradReady: (index: number) => exchange.ready(index, port) }),
    });
    ended();
  }
  if (!Number.isFinite(lossSum)) {
    throw new UserError(
      `the loss of step ${task.step} is ${lossSum}, expected a finite number: lower schedule.learningRate, lengthen schedule.warmupSteps, or set optimizer.gradClip`,
    );
  }
  await exchange.flush(port);
  return { lossSum, targets: countTargets(task.targets) };
}

/** The global norm of the reduced gradient. Call once a step, after the ring and before `apply`. */
async function reducedGradNorm(): Promise<number> {
  const { trainer, exchange } = built();
  const ended = spans.start('gradient norm');
  exchange.takeReduced();
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

/** Sum of the losses over targets other than -1. */
async function evaluateLoss(task: EvaluateTask): Promise<LossSum> {
  const { config, trainer } = built();
  const { microBatchSize } = config.train;
  const { blockSize } = config.model;
  let lossSum = 0;
  for (let from = 0; from < task.sampleCount; from += microBatchSize) {
    const size = Math.min(microBatchSize, task.sampleCount - from);
    const range = [from * blockSize, (from + size) * blockSize] as const;
    lossSum += await trainer.evaluate({
      tokens: task.tokens.subarray(...range),
      targets: task.targets.subarray(...range),
      batchSize: size,
      blockSize,
    });
  }
  return { lossSum, targets: countTargets(task.targets) };
}

/** Copies parameters and moments into `state`. */
async function copyStateOut({ state }: StateTask): Promise<void> {
  const { parameters } = built().trainer;
  for (const [i, part] of (['params', 'm', 'v'] as const).entries()) {
    await parameters.exportState(part, state.subarray(i * parameters.count, (i + 1) * parameters.count));
  }
}

/** The inverse of `exportState`. */
async function copyStateIn({ state }: StateTask): Promise<void> {
  const { parameters } = built().trainer;
  for (const [i, part] of (['params', 'm', 'v'] as const).entries()) {
    parameters.importState(part, state.subarray(i * parameters.count, (i + 1) * parameters.count));
  }
}

/** SHA-256 over the bits of every tensor of these groups, in the order of the tensor table. */
async function hashOf(groups: readonly ('values' | 'm' | 'v')[]): Promise<string> {
  const { engine, trainer } = built();
  await engine.finish();
  const hash = createHash('sha256');
  for (const group of groups) {
    for (const [i, { size }] of trainer.parameters.specs.entries()) {
      const tensor = trainer.parameters[group].tensors[i];
      invariant(tensor !== undefined, `parameter ${i} has no tensor in ${group}`);
      let numbers = engine.hostView(tensor);
      if (numbers === undefined) {
        numbers = new Float32Array(size);
        await engine.download(tensor, numbers);
      }
      hash.update(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
    }
  }
  return hash.digest('hex');
}

/** Ends the engine's threads. */
async function disposeReplica(): Promise<void> {
  await replica?.engine.dispose();
  replica?.port.close();
  replica = undefined;
}

function countTargets(targets: Int32Array): number {
  let count = 0;
  for (const target of targets) if (target >= 0) count++;
  return count;
}

// The tasks, by the names that replica.ts calls.
export const build = (task: BuildTask) => outcomeOf(() => buildReplica(task));
export const step = (task: StepTask) => outcomeOf(() => runStep(task));
export const gradNorm = () => outcomeOf(reducedGradNorm);
export const apply = (task: ApplyTask) => outcomeOf(() => applyAdamw(task));
export const takeSpans = () => outcomeOf(async () => spans.take());
export const evaluate = (task: EvaluateTask) => outcomeOf(() => evaluateLoss(task));
export const exportState = (task: StateTask) => outcomeOf(() => copyStateOut(task));
export const importState = (task: StateTask) => outcomeOf(() => copyStateIn(task));
export const parameterHash = () => outcomeOf(() => hashOf(['values']));
export const stateHash = () => outcomeOf(() => hashOf(['values', 'm', 'v']));
export const dispose = () => outcomeOf(disposeReplica);
