/**
 * Log probabilities of pairs under a model that does not train: one pass over all of them. It runs in this process, on all threads, with
 * the engine and precision of the workers, which have not started yet.
 */
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { ModelConfig } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { Config } from '../config/configTypes.ts';
import type { Engine } from '../engine/engine.ts';
import { createEngine } from '../engine/registry.ts';
import { Model } from '../model/model.ts';
import { pairLogprobs } from '../model/objectives/dpo.ts';
import { parameterSpecs } from '../model/parameterOrder.ts';
import { Parameters } from '../model/parameterStore.ts';
import { Tape } from '../model/tape.ts';
import { pairSampleFields } from '../task/pairBatch.ts';
import { collate, paddedTo, type Sample } from '../task/task.ts';
import { fillParameters } from './loadModel.ts';

/** The weights of a run before its first step. */
export interface StartWeights {
  readonly modelConfig: ModelConfig;
  /** Undefined for random weights. */
  readonly checkpoint: Checkpoint | undefined;
}

/** Identifies pairs and their order. Hexadecimal. */
export function hashPairs(pairs: readonly Sample[]): string {
  const hash = createHash('sha256');
  for (const pair of pairs) {
    for (const name of Object.keys(pairSampleFields)) {
      const numbers = Int32Array.from([pair[name]!.length, ...Array.from(pair[name]!)]);
      hash.update(new Uint8Array(numbers.buffer));
    }
  }
  return hash.digest('hex');
}

/** Identifies weights: by their bytes, or by what random ones follow from. Hexadecimal. */
export async function hashWeights({ modelConfig, checkpoint }: StartWeights, seed: number): Promise<string> {
  const specs = parameterSpecs(modelConfig);
  const hash = createHash('sha256').update(JSON.stringify(specs.map(({ name, shape }) => [name, shape])));
  if (checkpoint === undefined) {
    return hash.update(JSON.stringify(['random', seed, specs.map(({ init }) => init)])).digest('hex');
  }
  for await (const chunk of checkpoint.stream(
    'model',
    specs.map(({ name }) => name),
  )) {
    hash.update(chunk);
  }
  return hash.digest('hex');
}

/**
 * The log probabilities [pairs, 2] of the targets of each pair, chosen and rejected, summed in float64 and rounded to float32.
 * @param onProgress called with the share that is done, from 0 to 1
 * @throws UserError if the engine is not available, and if the weights give numbers that are not finite
 */
export async function computeReference(
  pairs: readonly Sample[],
  start: StartWeights,
  config: Pick<Config, 'engine' | 'train'>,
  onProgress: (done: number) => void,
): Promise<Float32Array> {
  const engine = await createEngine(config.engine);
  try {
    const model = await startModel(engine, start, config.train.seed);
    return await logprobsOf(pairs, { engine, model }, config, onProgress);
  } finally {
    await engine.dispose();
  }
}

async function startModel(engine: Engine, { modelConfig, checkpoint }: StartWeights, seed: number): Promise<Model> {
  const parameters = new Parameters(engine, parameterSpecs(modelConfig), { training: false });
  if (checkpoint === undefined) parameters.initialise(seed);
  else await fillParameters(parameters, checkpoint);
  return new Model(engine, modelConfig, parameters);
}

async function logprobsOf(
  pairs: readonly Sample[],
  { engine, model }: { engine: Engine; model: Model },
  { train, engine: { precision } }: Pick<Config, 'engine' | 'train'>,
  onProgress: (done: number) => void,
): Promise<Float32Array> {
  const logprobs = new Float32Array(2 * pairs.length);
  // Pairs of similar lengths need little padding.
  const order = [...pairs.keys()].sort((a, b) => longer(pairs[b]!) - longer(pairs[a]!) || a - b);
  for (let from = 0; from < order.length; from += train.microBatchSize) {
    const indices = order.slice(from, from + train.microBatchSize);
    const samples = indices.map((index) => pairs[index]!);
    const batch = collate(pairSampleFields, samples, paddedTo(longer(samples[0]!), model.config.blockSize));
    const tape = new Tape(engine, precision);
    try {
      const both = await pairLogprobs(tape, model, batch);
      for (const [i, index] of indices.entries()) {
        // A device's logarithm of 1 may be slightly above 0.
        for (const side of [0, 1]) logprobs[2 * index + side] = finite(Math.min(0, both[2 * i + side]!));
      }
    } finally {
      tape.discard();
    }
    onProgress((from + samples.length) / pairs.length);
    await setImmediate(); // timers renew the lock of the run directory
  }
  return logprobs;
}

function finite(logprob: number): number {
  if (Number.isFinite(logprob)) return logprob;
  throw new UserError(
    `a log probability under the starting weights is ${logprob}: the weights are damaged, or their run had diverged`,
  );
}

function longer({ chosen, rejected }: Sample): number {
  return Math.max(chosen!.length, rejected!.length);
}
