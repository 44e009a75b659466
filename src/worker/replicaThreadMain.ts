/**
 * The compute thread of a worker. Piscina runs it and calls the exported functions by name. There is one such thread per worker, so
 * its replica is stored here. replicaTasks.ts has the tasks.
 */
import type {
  ApplyTask,
  BuildTask,
  EvaluateTask,
  ExportTask,
  ReferenceTask,
  RolloutTask,
  StateTask,
  StepTask,
} from './replicaProtocol.ts';
import { ReplicaTasks } from './replicaTasks.ts';
import { outcomeOf } from './taskOutcome.ts';

const tasks = new ReplicaTasks();

// The tasks, under the names that replicaThread.ts calls.
export const build = (task: BuildTask) => outcomeOf(() => tasks.build(task));
export const step = (task: StepTask) => outcomeOf(() => tasks.step(task));
export const gradNorm = () => outcomeOf(() => tasks.gradNorm());
export const apply = (task: ApplyTask) => outcomeOf(() => tasks.apply(task));
export const takeSpans = () => outcomeOf(() => tasks.takeSpans());
export const evaluate = (task: EvaluateTask) => outcomeOf(() => tasks.evaluate(task));
export const takeReference = (task: ReferenceTask) => outcomeOf(() => tasks.takeReference(task));
export const referenceHash = () => outcomeOf(() => tasks.referenceHash());
export const rollOut = (task: RolloutTask) => outcomeOf(() => tasks.rollOut(task));
export const exportState = ({ done, ...task }: ExportTask) =>
  outcomeOf(async () => {
    void outcomeOf(() => tasks.exportState(task)).then((outcome) => done.postMessage(outcome));
  });
export const importState = (task: StateTask) => outcomeOf(() => tasks.importState(task));
export const parameterHash = () => outcomeOf(async () => tasks.parameterHash());
export const stateHash = () => outcomeOf(async () => tasks.stateHash());
export const dispose = () => outcomeOf(() => tasks.dispose());
