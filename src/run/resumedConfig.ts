/**
 * What a resumed run may change in its config: refuses what it cannot change, and notes what follows from the rest. Whether its checkpoint fits is
 * checked by resumedCheckpoint.ts.
 */
import { UserError } from '../base/errors.ts';
import { optionName } from '../base/ownCommand.ts';
import type { Config } from '../config/configTypes.ts';
import { learningRateAt, type Schedule } from '../coordinator/core/schedule.ts';
import { isPolicyKind } from '../task/kinds.ts';
import type { RunMessages } from './messages.ts';

/** Checks the changes, and notes consequences that a user may not expect. @throws UserError for a change that is not allowed */
export function checkChanges(now: Config, before: Config, { note }: Pick<RunMessages, 'note'>): void {
  if (now.model.from !== before.model.from) {
    throw new UserError(
      `a resumed run has its own weights: omit model.from (${optionName('init-from')}), or start a new run without ${optionName('resume')}`,
    );
  }
  const [place, placeBefore] = [now.checkpoint.directory, before.checkpoint.directory];
  if (place !== placeBefore) {
    throw new UserError(
      `checkpoint.directory was ${placeBefore || "the run's own"} and is ${place || "the run's own"}: a resumed run finds its checkpoints only where it wrote them. Omit checkpoint.directory`,
    );
  }
  // Parameters are float32 in both cases, but the bits of the run change.
  const { precision } = now.engine;
  if (before.engine.precision !== precision) {
    note(`engine.precision was ${before.engine.precision} and is ${precision} from now on`);
  }
  const [size, sizeBefore] = [now.train.globalBatchSize, before.train.globalBatchSize];
  if (size !== sizeBefore) {
    note(
      `train.globalBatchSize was ${sizeBefore} and is ${size} from now on; the data continues after the samples trained so far`,
    );
  }
  checkIterations(now, before);
  const said = scheduleNote(now, before);
  if (said !== undefined) note(said);
}

/** The steps of a run that writes its own samples are divided into iterations, of which one may be in progress. */
function checkIterations(now: Config, before: Config): void {
  if (!isPolicyKind(before.task.kind) && !isPolicyKind(now.task.kind)) return;
  const settings = ({ task, train }: Config) => ({
    'task.kind': task.kind,
    'task.prompts': task.prompts,
    'task.group': task.group,
    'task.inner': task.inner,
    'train.globalBatchSize': train.globalBatchSize,
  });
  const [is, was] = [Object.entries(settings(now)), Object.values(settings(before))];
  const changed = is.findIndex(([, value], i) => value !== was[i]);
  if (changed < 0) return;
  const [key, value] = is[changed]!;
  throw new UserError(
    `${key} was ${was[changed]} and is ${value}: a run that learns from its own answers resumes with its own iterations. Omit ${key}, or start a new run from its weights (${optionName('init-from')})`,
  );
}

/** The effect of another last step on the learning rate; undefined if it is the same step. */
export function scheduleNote({ train, schedule }: Config, before: Config): string | undefined {
  const [steps, stepsBefore] = [train.maxSteps, before.train.maxSteps];
  if (steps === stepsBefore) return undefined;
  const changed = `train.maxSteps was ${stepsBefore} and is ${steps}`;
  const { kind, decaySteps, learningRate, minLearningRate } = schedule;
  if (kind === 'constant') return `${changed}: the learning rate stays ${learningRate}`;
  if (kind === 'inverseSqrt') return `${changed}: the learning rate falls as before`;
  if (kind === 'sweep') return `${changed}: the learning rate rises until then`;
  if (decaySteps > 0) {
    if (steps <= decaySteps) return `${changed}: the learning rate continues to fall until step ${decaySteps}`;
    return `${changed}: from step ${decaySteps} on (schedule.decaySteps) the learning rate is ${minLearningRate}`;
  }
  if (before.schedule.decaySteps !== 0) return `${changed}: the learning rate falls until then`;
  const step = Math.min(steps, stepsBefore);
  const rate = (curve: Schedule, end: number) => learningRateAt(step, { ...curve, decaySteps: end }).toExponential(1);
  const [is, was] = [rate(schedule, steps), rate(before.schedule, stepsBefore)];
  const effect = is === was ? 'changes slightly' : `changes from now on: at step ${step} it is ${is}, not ${was}`;
  return (
    `${changed}: the learning rate falls until then (schedule.decaySteps is 0), so it ${effect}; ` +
    `schedule.decaySteps=${stepsBefore} keeps the former curve`
  );
}
