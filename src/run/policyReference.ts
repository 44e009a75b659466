/**
 * What a policy is compared with: the weights that its run started with. Workers make random weights themselves, and with adapters the
 * weights below them stay. Otherwise the weights are kept in the run directory, because checkpoints are removed, and workers get them when
 * they join.
 */
import { copyFile, link, mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isTrainedBy } from '../architecture/trainable.ts';
import { messageOf, PeerError, UserError } from '../base/errors.ts';
import { isObjectPath } from '../base/objectPath.ts';
import { isFile } from '../base/wholeFiles.ts';
import { openCheckpoint } from '../checkpoint/openCheckpoint.ts';
import { modelOf } from '../config/groups/model.ts';
import type { ReferenceFile } from '../coordinator/coordinatorOptions.ts';
import { sharesWeights } from '../model/referenceModel.ts';
import { downloadStored, hashStored, sizeOfStored } from '../objectStore/storedFiles.ts';
import type { Run } from './prepareRun.ts';

/**
 * The file for the workers; undefined if they need none. It is made from the weights of step 0.
 * @throws UserError if it is missing or damaged and cannot be made again; PeerError if the disk fails
 */
export async function policyReference(run: Run): Promise<ReferenceFile | undefined> {
  const { config, data, folder } = run;
  if (data.prompts === undefined || config.model.from === '') return undefined;
  if (sharesWeights(modelOf(config.model, data.vocabSize), isTrainedBy(config.train.trainable))) return undefined;
  const path = folder.policyReferencePath;
  const start = await startFile(run);
  const expected = run.resume?.trainer?.data.reference ?? (start && (await fileOf(start)).sha256);
  const found = (await isFile(path)) ? await fileOf(path) : undefined;
  if (found !== undefined && (found.sha256 === expected || expected === undefined)) return found;
  const problem = found === undefined ? `${path} is missing` : `${path} is damaged or of another run`;
  if (start === undefined) {
    throw new UserError(
      `${problem}; it has the weights of the start of the run, which no longer exist elsewhere: restore the file, or start a new run`,
    );
  }
  const made = await copied(start, path);
  if (made.sha256 === expected) return made;
  throw new UserError(
    `${problem}, and the checkpoint of step 0 has other weights than the run began with: restore the file, or start a new run`,
  );
}

/** The weights of the checkpoint of step 0; undefined if it no longer exists. */
async function startFile({ store, resume }: Run): Promise<string | undefined> {
  if (resume?.trainer?.step === 0) return resume.weightFiles[0];
  const first = (await store.list()).find(({ step, problem }) => step === 0 && problem === undefined);
  return first && (await openCheckpoint(first.path)).weightFiles[0];
}

async function fileOf(path: string): Promise<ReferenceFile> {
  const bytes = await sizeOfStored(path);
  return { path, bytes, sha256: await hashStored(path, bytes) };
}

/** Shares the disk space of the checkpoint if the file system can. */
async function copied(from: string, to: string): Promise<ReferenceFile> {
  try {
    await mkdir(dirname(to), { recursive: true });
    await rm(to, { force: true });
    if (isObjectPath(from)) await downloadStored(from, to);
    else await link(from, to).catch(() => copyFile(from, to));
    return await fileOf(to);
  } catch (error) {
    throw new PeerError(`${to} cannot be written: ${messageOf(error)}; make room`, { cause: error });
  }
}
