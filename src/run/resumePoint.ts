/**
 * The point where a run starts or resumes. The journal in its directory shows whether a coordinator was killed and its workers may still
 * hold their state. Otherwise the run resumes from the newest checkpoint or starts from the beginning.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { isSameValue, modelDifference } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { fateOfWord, isAlive } from '../base/processes.ts';
import { shortPath } from '../base/shortPath.ts';
import { covers } from '../comm/linkAddress.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
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

/** The keys that decide what the state of a worker has in it, or what it means. Only `optimizer.ema` may change at a checkpoint. */
const keysOfState = {
  'optimizer.ema': ({ optimizer }) => optimizer.ema,
  'optimizer.kind': ({ optimizer }) => optimizer.kind,
  'train.trainable': ({ train }) => train.trainable,
  'train.seed': ({ train }) => train.seed,
  'data.tokenizer': ({ data }) => data.tokenizer,
} as const satisfies Record<string, (config: Config) => unknown>;

/**
 * Workers that wait keep the state that they have. A run with another one would turn them away, and their steps after the checkpoint would
 * be lost with them.
 * @throws UserError for a change of what this state consists of
 */
export function checkWaiting(
  { config, before = config }: { readonly config: Config; readonly before?: Config | undefined },
  { resumed: { step, workers } }: Pick<ResumePoint, 'resumed'>,
): void {
  const changed = stateChange(config, before);
  if (changed === undefined) return;
  const { key, is, was } = changed;
  throw new UserError(
    `${key} was ${was} and is ${is}, but ${workers.join(', ')} may be waiting with the former state, of step ${step}. ` +
      (key === 'optimizer.ema'
        ? 'Resume without this change, end the run with Ctrl-C, which saves the state, and resume with the change then'
        : `Resume without this change: a run keeps its ${key}`),
  );
}

/** The first key of the state that differs, and its values. */
function stateChange(now: Config, before: Config): { key: string; is: unknown; was: unknown } | undefined {
  const [model, former] = [now, before].map((config) => modelOf(config.model, config.model.vocabSize || 1));
  const difference = modelDifference(model!, former!);
  if (difference !== undefined) return { key: `model.${difference.key}`, is: difference.one, was: difference.other };
  for (const [key, read] of Object.entries(keysOfState)) {
    const [is, was] = [read(now), read(before)];
    if (!isSameValue(is, was)) return { key, is, was };
  }
  return undefined;
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
