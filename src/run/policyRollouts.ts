/** The samples that a policy's run writes itself: what its coordinator needs for them, opened for one execution of the run. */
import { UserError } from '../base/errors.ts';
import { shortPath } from '../base/shortPath.ts';
import { withTodaysKeys } from '../config/renamedKeys.ts';
import { configSchema } from '../config/schema.ts';
import type { ReferenceFile } from '../coordinator/coordinatorOptions.ts';
import type { KnownIteration } from '../coordinator/core/runPlan.ts';
import type { Judge } from '../coordinator/rollouts/judgedCompletions.ts';
import { RolloutFolder } from '../coordinator/rollouts/rolloutStore.ts';
import { Rollouts } from '../coordinator/rollouts/rollouts.ts';
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

/** @throws UserError for rollouts that are missing or damaged within an iteration, or too far from the reference before its first step */
export function policyPoint(
  { rollouts }: PolicyParts,
  run: Run,
  { point, messages }: { point: ResumePoint | undefined; messages: Pick<RunMessages, 'warn'> },
): PolicyPoint {
  const { resume, store, folder } = run;
  const { step = 0, data: { rollouts: found } = {} } = resume?.trainer ?? {};
  const remove = `remove the checkpoints from step ${step} on in ${shortPath(store.directory)} to continue from an earlier one`;
  if (point === undefined) {
    const known = rollouts.continued(step, found, `restore it, or ${remove}`);
    if (known !== undefined && step === rollouts.startOf(known.iteration)) checkDivergence(rollouts, run, known);
    return { known, point };
  }
  const journal = `remove ${shortPath(folder.journalPath)} to continue from the newest checkpoint`;
  const { step: waitingStep, rollouts: itsFound } = point.resumed;
  const its = rollouts.continued(waitingStep, itsFound, `restore it, or ${journal}`);
  if (its !== undefined && waitingStep === rollouts.startOf(its.iteration)) checkDivergence(rollouts, run, its);
  return {
    known: fromCheckpoint(rollouts, { step, found, onWarning: messages.warn }),
    point: { ...point, resumed: { ...point.resumed, rollouts: its } },
  };
}

/**
 * A policy too far from its reference has ended the run before these rollouts were used (coordinator/core/rollingOut.ts). With a larger
 * beta or a lower learning rate than then, the user has decided that it continues.
 */
function checkDivergence(rollouts: Rollouts, { config, resume, before: ofFolder }: Run, known: KnownIteration): void {
  const { task, schedule } = config;
  if (task.klMax === 0) return;
  const recorded = resume?.trainer?.config;
  const before = recorded === undefined ? ofFolder : configSchema.safeParse(withTodaysKeys({ ...recorded })).data;
  const hasChanged =
    before === undefined || task.beta > before.task.beta || schedule.learningRate < before.schedule.learningRate;
  const kl = hasChanged ? 0 : rollouts.klOf(known);
  if (!(kl > task.klMax)) return;
  throw new UserError(
    `the KL divergence of the policy from the reference is ${kl.toPrecision(3)} in iteration ${known.iteration}, above task.klMax (${task.klMax}). ` +
      `Resume with a larger task.beta (it keeps the policy near the reference), a lower schedule.learningRate, or a larger task.klMax`,
  );
}

/** The run needs it only if the workers lose their state, which is therefore saved at once (coordinator/core/runState.ts). */
function fromCheckpoint(
  rollouts: Rollouts,
  { step, found, onWarning }: { step: number; found: KnownIteration | undefined; onWarning: (message: string) => void },
): KnownIteration | undefined {
  try {
    return rollouts.continued(step, found, 'the waiting workers have a later state, which is saved first');
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    onWarning(error.message);
    return undefined;
  }
}
