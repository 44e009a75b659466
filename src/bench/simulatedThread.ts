/**
 * The compute thread of a worker with a simulated device, replacing replicaThreadMain.ts. It computes by sleeping until a deadline, so
 * that any number of devices runs on a few cores. Gradients are real: as large as the model's, written bucket by bucket during the
 * simulated backward of the last micro-batch, passed to the ring at that moment, and checked once they are reduced. They are small
 * integers, whose sums are exact in any order. AdamW is not simulated, because a device does it by itself.
 */
import { createHash } from 'node:crypto';
import type { MessagePort } from 'node:worker_threads';
import { workerData } from 'piscina';
import type { ParameterSpec } from '../architecture/parameters.ts';
import { isMuonMatrix, isTrainedBy } from '../architecture/trainable.ts';
import type { Batch } from '../base/batch.ts';
import { InvariantError, invariant, PeerError } from '../base/errors.ts';
import { partsOf } from '../base/stateParts.ts';
import { noSums, type Sums } from '../base/sums.ts';
import { type Bucket, bucketsFor, makeBuckets } from '../comm/buckets.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import { parameterSpecs } from '../model/parameterOrder.ts';
import { targetsOf } from '../task/nextToken.ts';
import type {
  BuildResult,
  BuildTask,
  EvaluateTask,
  ExportTask,
  StateBlock,
  StepTask,
} from '../worker/replicaProtocol.ts';
import { outcomeOf } from '../worker/taskOutcome.ts';
import { backwardShare, simulatedDevice } from './simulatedDevice.ts';

interface Device {
  readonly config: Config;
  readonly vocabSize: number;
  readonly gradients: Float32Array;
  readonly buckets: readonly Bucket[];
  readonly port: MessagePort;
  readonly wanted: Int32Array;
  /** The gradients of one sample, repeated. */
  readonly pattern: Float32Array;
}

const { computeMs } = simulatedDevice.parse(workerData);
const patternLength = 2 ** 14;
/** Interval between checked gradients: prime to the pattern's period and to powers of two. */
const checkEvery = 997;
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const noHash = createHash('sha256').update('simulated').digest('hex');

let device: Device | undefined;

function built(): Device {
  invariant(device !== undefined, 'the device is used before it is built');
  return device;
}

async function buildDevice({ config, vocabSize, gradientPort, wanted }: BuildTask): Promise<BuildResult> {
  const specs = parameterSpecs(modelOf(config.model, vocabSize));
  const isTrained = isTrainedBy(config.train.trainable);
  const trained = specs.filter(isTrained);
  const frozen = specs.filter((spec) => !isTrained(spec));
  const block = blockOf(trained);
  const { offsets, sizes, length } = block;
  const { buckets } = makeBuckets({ offsets, sizes, length, bucketBytesMax: config.comm.bucketBytesMax });
  const gradients = new Float32Array(new SharedArrayBuffer(length * Float32Array.BYTES_PER_ELEMENT));
  const pattern = Float32Array.from({ length: patternLength }, (_, i) => patternAt(i));
  device = { config, vocabSize, gradients, buckets, port: gradientPort, wanted, pattern };
  const averaged = config.optimizer.ema > 0;
  const isMuon = (spec: ParameterSpec) => config.optimizer.kind === 'muon' && isMuonMatrix(spec);
  const tensors = [...trained, ...frozen].map((spec, i) => ({
    name: spec.name,
    shape: [...spec.shape],
    parts: partsOf({ trained: i < trained.length, averaged, muon: isMuon(spec) }),
  }));
  const engine = `simulated device, ${computeMs} ms a sample`;
  const engineId = { engine: 'simulated', deviceKind: 'none', unit: 'none', precision: 'float32' };
  const secondMoments = blockOf(trained.filter((spec) => !isMuon(spec)));
  const values = [block, ...(frozen.length > 0 ? [blockOf(frozen)] : []), ...(averaged ? [block] : [])];
  const blocks = [...values, block, secondMoments];
  return { engine, engineId, tensors, gradients, isInPlace: true, buckets, blocks };
}

/** Tensors in sequence, without padding. */
function blockOf(specs: readonly ParameterSpec[]): StateBlock {
  const sizes = specs.map(({ size }) => size);
  let length = 0;
  const offsets = sizes.map((size) => {
    length += size;
    return length - size;
  });
  return { length, offsets, sizes };
}

/** Waits for the duration of the samples. Deadlines count from the start, so that delays do not add up. */
async function runStep({ attempt, batch, worldSize }: StepTask): Promise<Sums> {
  const { sampleCount } = batch;
  const { config, vocabSize, gradients, port, wanted, pattern } = built();
  const buckets = bucketsFor(built().buckets, worldSize);
  const startMs = performance.now();
  const lastMicroBatch =
    sampleCount % config.train.microBatchSize || Math.min(sampleCount, config.train.microBatchSize);
  const backwardMs = lastMicroBatch * computeMs * backwardShare;
  const backwardAtMs = startMs + sampleCount * computeMs - backwardMs;
  const own = pattern.map((value) => value * sampleCount);
  for (const [i, { start, end }] of buckets.entries()) {
    if (Atomics.load(wanted, 0) !== attempt) return noSums;
    sleepUntil(backwardAtMs + (backwardMs * end) / gradients.length);
    write(gradients.subarray(start, end), own, start);
    port.postMessage([attempt, i]);
  }
  return lossOf(batch, vocabSize);
}

/** Sleeps until the deadline; one that has passed costs nothing. */
function sleepUntil(deadlineMs: number): void {
  const leftMs = deadlineMs - performance.now();
  if (leftMs > 0) Atomics.wait(sleeper, 0, 0, leftMs);
}

/** Fills `into`, which begins at element `from` of the gradients. */
function write(into: Float32Array, pattern: Float32Array, from: number): void {
  let at = 0;
  while (at < into.length) {
    const phase = (from + at) % pattern.length;
    const count = Math.min(into.length - at, pattern.length - phase);
    into.set(pattern.subarray(phase, phase + count), at);
    at += count;
  }
}

function patternAt(index: number): number {
  return ((index * 7) & 63) - 31;
}

/** The norm of the sum over all ranks, which is known in advance. @throws if the ring's result differs */
async function checkedNorm(): Promise<number> {
  const { config, gradients, pattern } = built();
  const { globalBatchSize } = config.train;
  for (let i = 0; i < gradients.length; i += checkEvery) {
    const expected = globalBatchSize * pattern[i % patternLength]!;
    if (gradients[i] === expected) continue;
    throw new PeerError(`the ring left ${gradients[i]} in element ${i} of the gradients: expected ${expected}`);
  }
  const square = pattern.reduce((sum, value) => sum + value * value, 0) / patternLength;
  return globalBatchSize * Math.sqrt(square * gradients.length);
}

async function evaluateSums({ batch }: EvaluateTask): Promise<Sums> {
  return lossOf(batch, built().vocabSize);
}

/** The loss of a model that has learned nothing. */
function lossOf(batch: Batch, vocabSize: number): Sums {
  const weight = targetsOf(batch);
  return { weight, loss: weight * Math.log(vocabSize) };
}

async function closePort(): Promise<void> {
  device?.port.close();
  device = undefined;
}

/** Only a worker that joins late receives a state, and a bench has none. */
async function noState(): Promise<never> {
  throw new InvariantError('a simulated device has no state to receive');
}

// The tasks, under the names that replicaThread.ts calls. The state is all zeros, as `exportState` receives it.
export const build = (task: BuildTask) => outcomeOf(() => buildDevice(task));
export const step = (task: StepTask) => outcomeOf(() => runStep(task));
export const gradNorm = () => outcomeOf(checkedNorm);
export const apply = () => outcomeOf(async () => undefined);
/** Records no traces. */
export const takeSpans = () => outcomeOf(async () => []);
export const evaluate = (task: EvaluateTask) => outcomeOf(() => evaluateSums(task));
export const exportState = ({ done }: ExportTask) =>
  outcomeOf(async () => done.postMessage(await outcomeOf(async () => undefined)));
export const importState = () => outcomeOf(noState);
export const parameterHash = () => outcomeOf(async () => noHash);
export const stateHash = () => outcomeOf(async () => noHash);
export const dispose = () => outcomeOf(closePort);
