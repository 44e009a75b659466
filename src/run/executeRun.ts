/**
 * Sees a prepared run through: claims its directory, listens, starts the workers of this machine, trains to the last step or until it
 * is stopped, and leaves nothing running. It prints nothing and knows no signals: those are its caller's, `launch` or the library.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { InvariantError, messageOf, PeerError, UserError } from '../base/errors.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { shortPath } from '../base/shortPath.ts';
import { memoryTransport } from '../comm/memoryLink.ts';
import { newRunKeys, type RunKeys } from '../comm/runKeys.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { renderConfig } from '../config/render.ts';
import { lacksEvaluation } from '../coordinator/core/bestEvaluation.ts';
import type { Judge } from '../coordinator/rollouts/judgedCompletions.ts';
import { MetricsLog } from '../records/metricsLog.ts';
import type { Begun, ExecuteRunOptions, Execution, RunOutcome } from './execution.ts';
import { describeWeights, writeInitialCheckpoint } from './initialWeights.ts';
import { openJudge } from './judge.ts';
import { openPolicy, type PolicyParts, policyPoint } from './policyRollouts.ts';
import type { Run } from './prepareRun.ts';
import { withReference } from './reference.ts';
import { checkWaiting, findWaitingWorkers, type ResumePoint, reachable } from './resumePoint.ts';
import { keysToResumeWith, writeRunKeys } from './runKeyFiles.ts';
import { withRunLength } from './runLength.ts';
import { runToTheEnd } from './runToTheEnd.ts';
import { StoredRun } from './storedRun.ts';

/** This machine only, any free port. */
const loopback = 'tcp://127.0.0.1:0';

/** @throws UserError, PeerError with what can be done about it; the run directory is given back in any case */
export async function executeRun(given: ExecuteRunOptions): Promise<RunOutcome> {
  const { run, messages } = given;
  const { folder } = run;
  const stored = StoredRun.of(run, messages);
  const options = { ...given, stored };
  // A directory that exists is claimed before its journal is read; a new one is made when nothing more can be wrong.
  if (!folder.isNew) await folder.claim(messages.warn);
  const tellEnd = async (end: RunOutcome | Error) => {
    if (folder.isHeld) await options.ending?.(end);
  };
  try {
    if (!folder.isNew) await options.claimed?.();
    // Beyond the checkpoint there may be workers with more: even after the last step, its checkpoint is still to be written.
    const stepsDone = run.resume?.trainer?.step ?? 0;
    const point = folder.isNew ? undefined : findWaitingWorkers(folder, stepsDone, messages);
    if (point !== undefined) checkWaiting(run, point);
    // Without the records in the object store, which only the claim brings, that is not known.
    const isDone = !run.restoresRecords && (await isComplete(atPoint(run, point)));
    const outcome = isDone ? await nothingLeft(run) : await trainFrom(options, point);
    await tellEnd(outcome);
    return outcome;
  } catch (error) {
    const failure = await failureOf(error, options);
    await tellEnd(failure);
    throw failure;
  } finally {
    await stored?.release();
    await folder.release();
  }
}

/** What to throw: the error, and what the user can do about it. */
async function failureOf(thrown: unknown, { run, stored, messages }: Execution): Promise<Error> {
  const { folder } = run;
  const error = thrown instanceof Error ? thrown : new InvariantError(messageOf(thrown));
  // A hint to resume would take the directory or the prefix back from the other process.
  if (error instanceof UserError || folder.isLost || stored?.isHeld === false) return error;
  const flight = existsSync(folder.flightPath)
    ? `\nthe last actions of every process are in ${shortPath(folder.flightPath)}`
    : '';
  if (error instanceof PeerError) {
    return new PeerError(`${error.message}\n${await resumeHint(run)}${flight}`, { cause: error });
  }
  if (flight !== '') messages.warn(flight.trim());
  return error;
}

/** Whether neither a step nor the evaluation of the last one is left. */
async function isComplete({ resume, config, folder }: Run): Promise<boolean> {
  const step = resume?.trainer?.step ?? 0;
  const { maxSteps } = config.train;
  if (step < maxSteps) return false;
  const evaluations = await MetricsLog.readEvaluations(folder.metricsPath, step);
  return !lacksEvaluation({ evalEverySteps: config.eval.everySteps, maxSteps }, step, evaluations);
}

async function nothingLeft({ folder, resume }: Run): Promise<RunOutcome> {
  const step = resume?.trainer?.step ?? 0;
  return { end: 'nothingLeft', step, evaluations: await MetricsLog.readEvaluations(folder.metricsPath, step) };
}

/** Where workers have come further than the checkpoint, the remaining epochs begin there. */
function atPoint(run: Run, point: ResumePoint | undefined): Run {
  if (point?.resumed.samples === undefined) return run;
  const { step, samples } = point.resumed;
  return { ...run, config: withRunLength(run.config, run.data, { step, samples }) };
}

/** Listens, claims a new directory and trains. */
async function trainFrom(options: Execution, point: ResumePoint | undefined): Promise<RunOutcome> {
  const { data, config, cwd } = options.run;
  const opened = data.prompts && (await openJudge(config, cwd));
  try {
    return await trainWith(opened?.judge, options, point);
  } finally {
    await opened?.close();
  }
}

async function trainWith(
  judge: Judge | undefined,
  options: Execution,
  point: ResumePoint | undefined,
): Promise<RunOutcome> {
  const { run, singleProcess, listen, messages } = options;
  const keys = await keysOf(options);
  const transport = singleProcess ? memoryTransport() : zmqTransport({ log: messages.warn, keys });
  const address = singleProcess ? 'memory://coordinator' : (listen ?? point?.recovered.address ?? loopback);
  const hasReference = run.data.pairs !== undefined || judge !== undefined;
  let begun: Begun = { run };
  let policy: PolicyParts | undefined;
  if (hasReference) {
    // An address where nothing can listen is reported before the long computation.
    if (run.folder.isNew) await (await transport.listen(address)).close();
    await claimFolder(options, keys);
    // The claim has brought the records that show it.
    if (await isComplete(atPoint(run, point))) return await nothingLeft(run);
    begun = await beginWithReference(options, point);
    policy = await openPolicy(begun.run, { judge, messages });
  }
  const server = await transport.listen(address);
  try {
    if (!hasReference) await claimFolder(options, keys);
    const advertise = options.advertise ?? point?.recovered.advertise;
    const found = reachable(point, { address: server.address, advertise }, messages);
    if (found === undefined && begun.run.resume === undefined) begun = await beginWithWeights(begun.run);
    const complete = atPoint(begun.run, found);
    if (await isComplete(complete)) return await nothingLeft(complete);
    const { known, point: from } = policy
      ? policyPoint(policy, complete, { point: found, messages })
      : { known: undefined, point: found };
    if (from !== undefined) await run.folder.writeConfig(renderConfig(complete.config));
    const { reference } = policy ?? {};
    return await runToTheEnd({
      ...options,
      ...begun,
      run: reference ? { ...complete, data: { ...complete.data, reference: reference.sha256 } } : complete,
      ...(policy && { policy: { ...policy, known } }),
      maxStepsFromCheckpoint: run.config.train.maxSteps,
      advertise,
      point: from,
      keys,
      transport,
      server,
    });
  } finally {
    await server.close();
  }
}

/**
 * Computes the reference log probabilities before workers can connect. A worker that joins expects an answer within seconds, and only the
 * coordinator, which starts later, can give it.
 */
async function beginWithReference({ run, messages }: Execution, point: ResumePoint | undefined): Promise<Begun> {
  const begun: Begun = point === undefined ? await beginWithWeights(run) : { run };
  return { ...begun, run: await withReference(begun.run, messages) };
}

async function claimFolder({ run, stored, messages, claimed }: Execution, keys: RunKeys | undefined): Promise<void> {
  const { folder, config, resume, restoresRecords: restores = false } = run;
  if (folder.isNew) {
    await folder.claim(messages.warn);
    await claimed?.();
  }
  await stored?.claim({ resumed: resume?.trainer?.step, restores, config: renderConfig(config) });
  // Its records are of an earlier failure.
  await rm(folder.flightPath, { recursive: true, force: true });
  await folder.writeConfig(renderConfig(config));
  if (keys) await writeRunKeys(folder, keys);
}

/** Makes the initial weights the first checkpoint, which workers receive as in a resumed run. */
async function beginWithWeights(run: Run): Promise<Begun> {
  if (run.weights === undefined) return { run };
  const resume = await writeInitialCheckpoint(run.store, run.weights, run);
  return { run: { ...run, resume }, begunWith: await describeWeights(run.weights) };
}

/** Undefined without encryption. */
async function keysOf(options: ExecuteRunOptions): Promise<RunKeys | undefined> {
  const { encrypt, singleProcess, keys, run } = options;
  if (!encrypt || singleProcess) return undefined;
  return run.folder.isNew ? (keys ?? newRunKeys()) : await keysToResumeWith(run.folder, keys);
}

/** What the user can do about a failed run. */
async function resumeHint({ store, folder }: Run): Promise<string> {
  const newest = (await store.list()).find(({ problem }) => problem === undefined);
  return newest === undefined
    ? 'no checkpoint exists yet (checkpoint.everySteps): start the run again'
    : `continue from step ${newest.step} with: ${ownCommand('--resume', shortPath(folder.path))}`;
}
