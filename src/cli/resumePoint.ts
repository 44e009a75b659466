/**
 * Where a run begins or goes on: the journal of its run directory says whether a coordinator was killed whose workers may still be
 * there with their state; else it is the newest checkpoint, or the beginning.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { isAlive } from '../base/lockFile.ts';
import { Journal } from '../coordinator/journal.ts';
import type { Recovered } from '../coordinator/journalRecords.ts';
import type { Resumed } from '../coordinator/runState.ts';
import { print, warn } from './progress.ts';
import type { RunFolder } from './runFolder.ts';

export interface ResumePoint {
  readonly recovered: Recovered;
  readonly resumed: Resumed;
}

/** Where the workers of a coordinator that was killed may be waiting; undefined if none can be. */
export function findWaitingWorkers(folder: RunFolder): ResumePoint | undefined {
  const { recovered, journal } = Journal.open(folder.journalPath, warn);
  void journal.close();
  if (recovered === undefined) return undefined;
  // Of those of this machine it is known whether they live.
  const waiting = recovered.members.filter(({ host, pid }) => host !== hostname() || isAlive(pid));
  if (waiting.length === 0) return undefined;
  const { epoch, step, committedEpoch } = recovered;
  const workers = waiting.map(({ worker }) => worker);
  print(`the coordinator of ${folder.path} ended at step ${step}: looking for ${workers.join(', ')}`);
  return { recovered, resumed: { epoch, step, committedEpoch, workers } };
}

/** The journal of a run that goes on where its coordinator was killed, or begins at `startStep`. */
export function openJournal(
  folder: RunFolder,
  address: string,
  point: ResumePoint | undefined,
  startStep: number,
): Journal {
  if (point !== undefined) return Journal.open(folder.journalPath, warn).journal;
  const journal = Journal.create(folder.journalPath, warn);
  journal.append({ kind: 'run', format: 1, runId: randomUUID(), address });
  if (startStep > 0) journal.append({ kind: 'rewind', step: startStep });
  return journal;
}
