/**
 * The reference of preference optimization: the model as it is before the first step. Its log probabilities of all pairs are computed
 * once and kept in the run directory, so that a resumed run has the same ones without a second model.
 */
import { messageOf, PeerError, UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { shortPath } from '../base/shortPath.ts';
import { openCheckpoint } from '../checkpoint/openCheckpoint.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import type { Sample } from '../task/task.ts';
import type { RunMessages } from './messages.ts';
import type { Run } from './prepareRun.ts';
import {
  hashReference,
  type ReferenceLogprobs,
  type ReferenceSource,
  readReference,
  writeReference,
} from './referenceFile.ts';
import { computeReference, hashPairs, hashWeights, type StartWeights } from './referenceLogprobs.ts';

/** The run, whose pairs have the log probabilities of the reference. Other runs are not changed. @throws as {@link openReference} */
export async function withReference(run: Run, messages: RunMessages): Promise<Run> {
  const { pairs } = run.data;
  if (pairs === undefined) return run;
  const values = await openReference({
    path: run.folder.referencePath,
    config: run.config,
    pairs,
    start: await startWeights(run),
    trainedWith: run.resume?.trainer?.data.reference,
    messages,
  });
  return { ...run, data: pairs.withReference(values, hashReference(values)) };
}

/** Undefined if they no longer exist. */
async function startWeights({ config, data, resume, store }: Run): Promise<StartWeights | undefined> {
  const modelConfig = modelOf(config.model, data.vocabSize);
  if (resume?.trainer?.step === 0) return { modelConfig, checkpoint: resume };
  if (config.model.from === '') return { modelConfig, checkpoint: undefined };
  const first = (await store.list()).find(({ step, problem }) => step === 0 && problem === undefined);
  return first && { modelConfig, checkpoint: await openCheckpoint(first.path) };
}

export interface ReferenceOptions {
  readonly path: string;
  readonly config: Pick<Config, 'engine' | 'train'>;
  readonly pairs: { readonly train: readonly Sample[]; readonly validation: readonly Sample[] };
  /** The weights before the first step; undefined if they no longer exist. */
  readonly start: StartWeights | undefined;
  /** Hash of the values with which the run was trained; undefined if it has made no step. */
  readonly trainedWith: string | undefined;
  readonly messages: RunMessages;
}

/**
 * Those of the file, or computes them and writes it.
 * @throws UserError for a damaged file, and for one of other weights or pairs, or if the file is missing and cannot be made again;
 * PeerError if the disk fails
 */
export async function openReference(options: ReferenceOptions): Promise<ReferenceLogprobs> {
  const { path, pairs, start, config, trainedWith } = options;
  const source = { pairs: hashPairs([...pairs.train, ...pairs.validation]) };
  const counts = { train: pairs.train.length, validation: pairs.validation.length };
  const found = await readReference(path, counts);
  // A run that was trained with the file has a hash of its numbers, so the weights need not be read.
  const isByWeights = found === undefined || trainedWith === undefined;
  const weights = start && isByWeights ? await hashWeights(start, config.train.seed) : undefined;
  if (found === undefined) return await compute(options, weights === undefined ? undefined : { ...source, weights });
  if (found.source.pairs !== source.pairs) throw wrongReference(path, 'other pairs', 'restore the examples');
  if (trainedWith === undefined) {
    if (found.source.weights !== weights) throw wrongReference(path, 'other weights', 'remove it to compute it again');
  } else if (hashReference(found.values) !== trainedWith) {
    throw wrongReference(path, 'another run', 'restore the file of this run');
  }
  return found.values;
}

function wrongReference(path: string, whose: string, cure: string): UserError {
  return new UserError(`${path} has the reference log probabilities of ${whose}: ${cure}, or start a new run`);
}

async function compute(
  { path, pairs, start, config, trainedWith, messages }: ReferenceOptions,
  source: ReferenceSource | undefined,
): Promise<ReferenceLogprobs> {
  const lost = `${path} is missing, and the run was trained with it`;
  if (start === undefined || source === undefined) {
    throw new UserError(`${lost}; the weights of its start no longer exist: restore the file, or start a new run`);
  }
  const all = [...pairs.train, ...pairs.validation];
  messages.note(`computing the reference log probabilities of ${grouped(all.length)} pairs`);
  const progress = messages.progress('reference log probabilities');
  const logprobs = await computeReference(all, start, config, progress);
  const split = 2 * pairs.train.length;
  const values = { train: logprobs.subarray(0, split), validation: logprobs.subarray(split) };
  if (trainedWith !== undefined && hashReference(values) !== trainedWith) {
    throw new UserError(
      `${lost}; the weights at its start now give other numbers than the run was trained with: restore the file, or start a new run`,
    );
  }
  await writeReference(path, values, source).catch((error: unknown) => {
    throw new PeerError(`${shortPath(path)} cannot be written: ${messageOf(error)}; make room`, { cause: error });
  });
  return values;
}
