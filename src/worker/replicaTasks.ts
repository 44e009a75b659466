/**
 * A worker's computation: the engine, the replica on it, and the tasks that the agent requests, one at a time. It knows nothing about
 * threads and ranks: it only reports each bucket whose gradients are final, and takes back the reduced ones.
 */
import { createHash } from 'node:crypto';
import type { MessagePort } from 'node:worker_threads';
import type { ModelConfig } from '../architecture/registry.ts';
import { isTrainedBy } from '../architecture/trainable.ts';
import { type Batch, microBatches } from '../base/batch.ts';
import { invariant, messageOf, PeerError } from '../base/errors.ts';
import { addSums, noSums, type Sums } from '../base/sums.ts';
import { fileParameters } from '../checkpoint/fileParameters.ts';
import { makeBuckets } from '../comm/buckets.ts';
import { textMax } from '../comm/messageFields.ts';
import type { Span } from '../comm/spans.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import type { Engine } from '../engine/engine.ts';
import { engines } from '../engine/engines.ts';
import { createEngine, type EngineOptions, type EngineTable } from '../engine/registry.ts';
import type { Precision } from '../model/computing.ts';
import { objectiveOf } from '../model/objectives/registry.ts';
import { type ReferenceModel, referenceOf } from '../model/referenceModel.ts';
import { rolloutPart } from '../model/rollout.ts';
import { Trainer } from '../model/training.ts';
import { isPolicyKind } from '../task/kinds.ts';
import { promptsOf, rolloutBatch } from '../task/rolloutBatch.ts';
import { ComputeSpans } from './computeSpans.ts';
import { engineWordOf } from './engineWord.ts';
import { GradientExchange } from './gradientExchange.ts';
import {
  type ApplyTask,
  type BuildResult,
  type BuildTask,
  deviceFlag,
  deviceFlags,
  type EvaluateTask,
  endDevice,
  type ReferenceTask,
  type RolloutTask,
  type StateTask,
  type StepTask,
} from './replicaProtocol.ts';

interface Built {
  readonly config: Config;
  readonly engine: Engine;
  readonly trainer: Trainer;
  readonly exchange: GradientExchange;
  /** The model at the start of the run, if the run compares with it. */
  readonly reference: ReferenceModel | undefined;
  readonly port: MessagePort;
  readonly wanted: Int32Array;
}

/** Number of micro-batches queued on an asynchronous device before the host waits for one. */
const microBatchesAhead = 2;

/** Long enough for some slices of it on a shared machine, and short enough to go unnoticed. */
const limitSeconds = 0.03;

/** Peak rate of its threads, in the precision of its products. */
async function measureLimit(engine: Engine, precision: Precision): Promise<BuildResult['measured']> {
  const { threads = 1 } = engine;
  const flops = (await engine.peakFlops?.(precision, limitSeconds)) ?? 0;
  return flops > 0 ? { threadFlops: flops / threads, threads } : undefined;
}

/** What the coordinator sent is not the fault of this worker's user. */
function referenceValues(file: Uint8Array, config: ModelConfig): (name: string) => Float32Array {
  try {
    return fileParameters(file, config, 'the reference');
  } catch (error) {
    throw new PeerError(messageOf(error), { cause: error });
  }
}

export class ReplicaTasks {
  readonly #engines: EngineTable;
  #replica: Built | undefined;
  /** Ends the engine; what waits for its device then fails. */
  #endDevice: () => Promise<void> = async () => undefined;
  /** For the traced step. */
  readonly #spans = new ComputeSpans();

  /** @param table the engines that a config may name */
  constructor(table: EngineTable = engines) {
    this.#engines = table;
  }

  /** Creates the engine, and the model with its initial parameters. */
  async build(task: BuildTask): Promise<BuildResult> {
    const { config, vocabSize, threads, localIndex, trace, gradientPort, wanted } = task;
    const { precision } = config.engine;
    const modelConfig = modelOf(config.model, vocabSize);
    const plainEngine = await this.#open({ ...config.engine, threads, localIndex }, wanted);
    const engine = trace ? this.#spans.observed(plainEngine) : plainEngine;
    const { seed, activationRecompute, trainable } = config.train;
    const objective = objectiveOf(task.objective, config.task);
    const isTrained = isTrainedBy(trainable);
    const trainer = new Trainer(engine, modelConfig, {
      seed,
      objective,
      activationRecompute,
      precision,
      isTrained,
      averaged: config.optimizer.ema > 0,
      muon: config.optimizer.kind === 'muon',
    });
    const { trained, grads, state: groups, stateTensors } = trainer.parameters;
    const sizes = trained.map(({ size }) => size);
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
      gradientPort.on('message', (message: [number, number] | typeof endDevice) => {
        if (message === endDevice) void this.#endDevice();
        else exchange.takeBack(message[0], message[1]);
      });
    }
    const state = engine.isHost && groups.map((group) => engine.hostRange(group, 0, group.length));
    const reference = isPolicyKind(config.task.kind) ? await referenceOf(trainer) : undefined;
    this.#replica = { config, engine, trainer, exchange, reference, port: gradientPort, wanted };
    const measured = await measureLimit(engine, precision);
    return {
      engine: engine.description.slice(0, textMax),
      engineId: { engine: engine.name, deviceKind: engine.deviceKind, unit: engineWordOf(engine.unit), precision },
      ...(measured && { measured }),
      tensors: stateTensors,
      gradients: exchange.shared,
      isInPlace: engine.isHost,
      buckets: plan.buckets,
      blocks: groups.map(({ length, offsets, tensors }) => ({
        length,
        offsets,
        sizes: tensors.map(({ size }) => size),
      })),
      ...(state && { state }),
    };
  }

  /** Forward and backward of this rank's samples; afterwards its share of the gradient is final. */
  async step({ attempt, step: update, sampleFrom, batch, globalWeight, worldSize, trace }: StepTask): Promise<Sums> {
    const { config, trainer, exchange, wanted } = this.#built();
    const { microBatchSize, seed } = config.train;
    await exchange.begin(attempt, { worldSize });
    this.#spans.begin(trace);
    trainer.zeroGrads(); // from a step that was not applied
    const reads: Promise<Sums>[] = [];
    for (const { from, batch: micro } of microBatches(batch, microBatchSize)) {
      if (Atomics.load(wanted, 0) !== attempt) return noSums;
      const size = micro.sampleCount;
      const last = from + size === batch.sampleCount;
      const ended = this.#spans.start(`microbatch ${from / microBatchSize}`);
      await reads.at(-microBatchesAhead);
      const { sums } = await trainer.enqueueMicroStep({
        ...micro,
        lossScale: 1 / globalWeight,
        dropout: { seed, step: update, firstSample: sampleFrom + from },
        ...(last && { onGradReady: (index: number) => exchange.ready(index) }),
      });
      sums.catch(() => undefined); // reported below, unless the step is abandoned
      reads.push(sums);
      ended();
    }
    let sums = noSums;
    for (const read of reads) sums = addSums(sums, await read);
    await exchange.flush();
    return sums;
  }

  /** The global norm of the reduced gradient. Call it once per step, after the ring and before `apply`. */
  async gradNorm(): Promise<number> {
    const { trainer, exchange } = this.#built();
    const ended = this.#spans.start('gradient norm');
    await exchange.whenBack();
    const norm = await trainer.gradNorm();
    ended();
    return norm;
  }

  /** Updates the parameters with the reduced gradient, and averages them if the run asks for it. */
  async apply({ step: update, learningRate, gradNorm: norm }: ApplyTask): Promise<void> {
    const { config, engine, trainer } = this.#built();
    const ended = this.#spans.start('optimizer');
    await trainer.applyAdamw({ ...config.optimizer, step: update, learningRate, gradNorm: norm });
    await engine.finish();
    ended();
  }

  /** The objective's sums, computed in training's micro-batches. */
  async evaluate({ batch }: EvaluateTask): Promise<Sums> {
    const { config, trainer } = this.#built();
    const parts = [...microBatches(batch, config.train.microBatchSize)];
    return await trainer.evaluate(parts.map((part) => part.batch));
  }

  /** @throws PeerError if the file is not the one that the run names, or of another model */
  async takeReference({ file, sha256 }: ReferenceTask): Promise<void> {
    const { reference, trainer } = this.#built();
    const found = createHash('sha256').update(file).digest('hex');
    if (found !== sha256) throw new PeerError(`received a reference with sha256 ${found}, expected ${sha256}`);
    const own = reference?.parameters;
    if (own === undefined) return; // adapters that are switched off
    // The file may have a value head, which the reference lacks.
    const valuesOf = referenceValues(file, trainer.model.config);
    for (const [index, { name }] of own.specs.entries()) own.writeTensor('params', index, valuesOf(name));
    own.valuesChanged();
  }

  /** Checksum of the reference; undefined if it has no parameters of its own. */
  async referenceHash(): Promise<string | undefined> {
    const { engine, reference } = this.#built();
    return reference?.parameters && (await engine.checksum(reference.parameters.allValues));
  }

  /** The rollouts of a part of an iteration. @throws PeerError for prompts outside the limits of the model */
  async rollOut({ iteration, prompts, endToken }: RolloutTask): Promise<Batch> {
    const { config, engine, trainer, reference } = this.#built();
    invariant(reference !== undefined, 'a run that writes no samples is asked for rollouts');
    const { group, maxTokens, kind } = config.task;
    const { blockSize, vocabSize } = trainer.model.config;
    const limits = { blockSize, vocabSize, group, maxTokens, hasValues: kind === 'ppo' };
    const { precision } = config.engine;
    const models = { engine, model: trainer.model, reference: reference.model, precision };
    const { seed } = config.train;
    const request = { seed, iteration, prompts: promptsOf(prompts, limits), group, maxTokens, endToken };
    return rolloutBatch(await rolloutPart(models, request));
  }

  /** Copies the state to `state`, block by block. */
  async exportState({ state }: StateTask): Promise<void> {
    const { engine, trainer } = this.#built();
    await engine.snapshot(trainer.parameters.state, state);
  }

  /** The inverse of `exportState`. Required after any change of the state, even if `state` is the engine's own memory. */
  async importState({ state }: StateTask): Promise<void> {
    const { engine, trainer } = this.#built();
    for (const [i, group] of trainer.parameters.state.entries()) engine.copyIn(group, 0, group.length, state[i]!);
    trainer.parameters.valuesChanged();
    await engine.finish();
  }

  /** Ends the engine's threads. */
  async dispose(): Promise<void> {
    await this.#endDevice();
    this.#replica?.port.close();
    this.#replica = undefined;
  }

  /** The computations since the traced step began. */
  async takeSpans(): Promise<Span[]> {
    return this.#spans.take();
  }

  /** Checksum of the parameters, including frozen ones, and of their averages. */
  parameterHash(): Promise<string> {
    const { engine, trainer } = this.#built();
    const { allValues, average } = trainer.parameters;
    return engine.checksum(average === undefined ? allValues : [...allValues, average]);
  }

  /** Checksum of all parts of the state. */
  stateHash(): Promise<string> {
    const { engine, trainer } = this.#built();
    return engine.checksum(trainer.parameters.state);
  }

  /** Starts the engine. `wanted` has the flag of its device from before it is opened, because its opening must not be interrupted either. */
  async #open(options: EngineOptions, wanted: Int32Array): Promise<Engine> {
    const setFlag = (flag: number) => {
      Atomics.store(wanted, deviceFlag, flag);
      Atomics.notify(wanted, deviceFlag);
    };
    setFlag(deviceFlags.open);
    try {
      const engine = await createEngine(options, this.#engines);
      if (engine.isHost) setFlag(deviceFlags.none);
      this.#endDevice = () => engine.dispose().finally(() => setFlag(deviceFlags.none));
      return engine;
    } catch (error) {
      setFlag(deviceFlags.none);
      throw error;
    }
  }

  #built(): Built {
    invariant(this.#replica !== undefined, 'the replica is used before it is built');
    return this.#replica;
  }
}
