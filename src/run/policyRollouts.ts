/** The samples that a policy's run writes itself: what its coordinator needs for them, opened for one execution of the run. */
import { UserError } from '../base/errors.ts';
import { shortPath } from '../base/shortPath.ts';
import type { ReferenceFile } from '../coordinator/coordinatorOptions.ts';
import type { KnownIteration } from '../coordinator/core/runState.ts';
import { RolloutFolder } from '../coordinator/rollouts/rolloutStore.ts';
import { type Judge, Rollouts } from '../coordinator/rollouts/rollouts.ts';
import type { RunMessages } from './messages.ts';
import { policyReference } from './policyReference.ts';
import type { Run } from './prepareRun.ts';
import type { ResumePoint } from './resumePoint.ts';

/** What is opened before workers can connect: it may take long, and a worker expects an answer within seconds. */
export interface PolicyParts {
  readonly rollouts: Rollouts;
  readonly reference: ReferenceFile | undefined;
}

/**
 * Undefined for a run that learns from given samples.
 * @param run with its initial weights
 * @throws UserError for a reference that is missing or damaged
 */
export async function openPolicy(
  run: Run,
  { judge, messages }: { judge: Judge | undefined; messages: RunMessages },
): Promise<PolicyParts | undefined> {
  const { config, data, folder, store } = run;
  if (data.prompts === undefined || judge === undefined) return undefined;
  const { train, task, model } = config;
  const rollouts = new Rollouts({
    seed: train.seed,
    globalBatchSize: train.globalBatchSize,
    epochs: train.epochs,
    blockSize: model.blockSize,
    vocabSize: data.vocabSize,
    task,
    ...data.prompts,
    tokenizer: data.tokenizer,
    judge,
    store: new RolloutFolder(folder.rolloutsPath),
    checkpointSteps: async () => (await store.list()).map(({ step }) => step),
    onWarning: messages.warn,
  });
  return { rollouts, reference: await policyReference(run) };
}

/** Where a policy continues. */
export interface PolicyPoint {
  /** The iteration that the checkpoint is within. */
  readonly known: KnownIteration | undefined;
  /** The point where workers wait, with the rollouts of their iteration. */
  readonly point: ResumePoint | undefined;
}

/** @throws UserError for rollouts that are missing or damaged within an iteration */
export function policyPoint(
  { rollouts }: PolicyParts,
  { resume, store, folder }: Run,
  point: ResumePoint | undefined,
): PolicyPoint {
  const { step = 0, data: { rollouts: found } = {} } = resume?.trainer ?? {};
  const remove = `remove the checkpoints from step ${step} on in ${shortPath(store.directory)} to continue from an earlier one`;
  if (point === undefined) return { known: rollouts.continued(step, found, `restore it, or ${remove}`), point };
  const journal = `remove ${shortPath(folder.journalPath)} to continue from the newest checkpoint`;
  const { step: waitingStep, rollouts: itsFound } = point.resumed;
  const its = rollouts.continued(waitingStep, itsFound, `restore it, or ${journal}`);
  return {
    known: fromCheckpoint(rollouts, step, found),
    point: { ...point, resumed: { ...point.resumed, rollouts: its } },
  };
}

/** The run needs it only if the workers lose their state, and then names what is missing. */
function fromCheckpoint(
  rollouts: Rollouts,
  step: number,
  found: KnownIteration | undefined,
): KnownIteration | undefined {
  try {
    return rollouts.continued(step, found, '');
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}
