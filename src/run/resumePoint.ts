/**
 * The point where a run starts or resumes. The journal in its directory shows whether a coordinator was killed and its workers may still
 * hold their state. Otherwise the run resumes from the newest checkpoint or starts from the beginning.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { UserError } from '../base/errors.ts';
import { fateOfWord, isAlive } from '../base/processes.ts';
import { shortPath } from '../base/shortPath.ts';
import { covers } from '../comm/linkAddress.ts';
import type { Config } from '../config/configTypes.ts';
import type { Resumed } from '../coordinator/core/runState.ts';
import { Journal } from '../records/journal.ts';
import type { Recovered } from '../records/journalRecords.ts';
import type { RunMessages } from './messages.ts';
import type { RunFolder } from './runFolder.ts';

export interface ResumePoint {
  readonly recovered: Recovered;
  readonly resumed: Resumed;
}

/**
 * The point at which workers of a killed coordinator may be waiting; undefined if there cannot be any.
 * @param startStep step of the newest checkpoint: workers behind it are not useful
 */
export function findWaitingWorkers(
  folder: RunFolder,
  startStep: number,
  { note, warn }: RunMessages,
): ResumePoint | undefined {
  const { recovered, journal } = Journal.open(folder.journalPath, warn);
  void journal.close();
  if (recovered === undefined || recovered.step < startStep) return undefined;
  // Local workers can be checked: a pid alone may belong to another process by now.
  const waiting = recovered.members.filter(
    ({ host, pid, process }) =>
      host !== hostname() || (process === undefined ? isAlive(pid) : fateOfWord(pid, process) !== 'gone'),
  );
  if (waiting.length === 0) return undefined;
  const { term, step, committedTerm, gradNorm, learningRate, tokens, samples, globalBatchSize, rollouts } = recovered;
  const workers = waiting.map(({ worker }) => worker);
  note(`the coordinator of ${shortPath(folder.path)} ended at step ${step}: looking for ${workers.join(', ')}`);
  return {
    recovered,
    resumed: {
      ...{ term, step, committedTerm, gradNorm, learningRate, tokens, samples, globalBatchSize },
      ...{ workers, rollouts },
    },
  };
}

/** Workers that wait keep the average that they have, or have none. @throws UserError for another one */
export function checkWaiting(
  { config, before }: { readonly config: Config; readonly before?: Config | undefined },
  { resumed: { step, workers } }: Pick<ResumePoint, 'resumed'>,
): void {
  const [is, was] = [config.optimizer.ema, before?.optimizer.ema ?? config.optimizer.ema];
  if (is === was) return;
  throw new UserError(
    `optimizer.ema was ${was} and is ${is}, but ${workers.join(', ')} may be waiting with the state of step ${step} and the former average. ` +
      'Resume without this change, end the run with Ctrl-C, which saves the state, and resume with the change then',
  );
}

/** Where workers find a coordinator. */
export interface Found {
  /** The address that it listens on; it may stand for every interface. */
  readonly address: string;
  /** The value of `--advertise`, if given. */
  readonly advertise: string | undefined;
}

/** The point, if workers find this coordinator where the former one was: they look only there. */
export function reachable(
  point: ResumePoint | undefined,
  { address, advertise }: Found,
  { warn }: RunMessages,
): ResumePoint | undefined {
  if (point === undefined || covers(address, point.recovered.address)) return point;
  if (advertise !== undefined && advertise === point.recovered.advertise) return point;
  const { workers } = point.resumed;
  warn(
    `${workers.join(', ')} look for their coordinator at ${point.recovered.address}, not at ${address}: starting other workers`,
  );
  return undefined;
}

/** The journal of a run that resumes at the point where its coordinator was killed, or starts at `startStep`; and the run's id. */
export function openJournal(
  folder: RunFolder,
  { address, advertise }: Found,
  {
    point,
    startStep,
    messages: { warn },
  }: { point: ResumePoint | undefined; startStep: number; messages: RunMessages },
): { journal: Journal; runId: string } {
  if (point !== undefined) {
    return { journal: Journal.open(folder.journalPath, warn).journal, runId: point.recovered.runId };
  }
  const runId = randomUUID();
  const journal = Journal.create(folder.journalPath, warn);
  journal.append({ kind: 'run', format: 2, runId, address, ...(advertise !== undefined && { advertise }) });
  if (startStep > 0) journal.append({ kind: 'rewind', step: startStep });
  return { journal, runId };
}
