/**
 * The point where a run starts or resumes. The journal in its directory shows whether a coordinator was killed and its workers may still
 * hold their state. Otherwise the run resumes from the newest checkpoint or starts from the beginning.
 */
import { randomUUID } from 'node:crypto';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { isSameValue, modelDifference } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { fateOfWord, isAlive } from '../base/processes.ts';
import { shortPath } from '../base/shortPath.ts';
import { addressFromHere, covers, isLoopbackHost, joinAddresses, parseTcpAddress } from '../comm/linkAddress.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import type { Resumed } from '../coordinator/core/runState.ts';
import { Journal } from '../records/journal.ts';
import type { Recovered } from '../records/journalRecords.ts';
import { isLocalName } from '../worker/workerNames.ts';
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

/** The point, with the workers that find this coordinator: they look only where the former one was. Undefined if none does. */
export function reachable(
  point: ResumePoint | undefined,
  found: Found,
  { note, warn }: RunMessages,
): ResumePoint | undefined {
  if (point === undefined) return undefined;
  const { recovered, resumed } = point;
  const isNear = isSamePlace(found, recovered);
  const finds = (worker: string) => (isLocalName(worker) ? findsNearby(worker, found, recovered) : isNear);
  const workers = resumed.workers.filter(finds);
  const others = resumed.workers.filter((worker) => !finds(worker)).join(', ');
  if (workers.length === resumed.workers.length) return point;
  const [was, is] = [placeOf(recovered), placeOf(found)];
  if (workers.length > 0 || was === is) {
    note(`${others} looked for their coordinator on its former machine: starting others`);
  } else {
    warn(`${others} look for their coordinator at ${was}, not at ${is}: starting other workers`);
  }
  return workers.length > 0 ? { ...point, resumed: { ...resumed, workers } } : undefined;
}

/** Whether workers that joined the one coordinator find the other. */
function isSamePlace(now: Found, before: Found): boolean {
  if (covers(now.address, before.address)) return true;
  return now.advertise !== undefined && before.advertise !== undefined && placeOf(now) === placeOf(before);
}

/** Where others are told to join. */
function placeOf({ address, advertise }: Found): string {
  return advertise === undefined ? address : joinAddresses(address, advertise)[0]!;
}

/** Whether a worker that the former coordinator started on its own machine finds this one. */
function findsNearby(worker: string, now: Found, { address, members }: Recovered): boolean {
  if (!address.startsWith('tcp:')) return covers(now.address, address);
  const at = addressFromHere(address);
  const isElsewhere = members.some((member) => member.worker === worker && member.host !== hostname());
  return covers(now.address, at) && !(isElsewhere && isLoopbackHost(parseTcpAddress(at).host));
}

/** So long name servers and their caches may lead workers to a former address. Those of Kubernetes keep it for 30 s. */
const nameDelayMs = 60_000;

/** How long a resumed run waits for the first worker with the state; undefined: as long as for any other. */
export function returnTimeoutMs({ comm }: Config, advertise: string | undefined): number | undefined {
  const isNamed = advertise !== undefined && isIP(parseTcpAddress(advertise).host) === 0;
  return isNamed ? Math.min(nameDelayMs, comm.joinTimeoutMs, comm.rejoinTimeoutMs) : undefined;
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
    const { journal } = Journal.open(folder.journalPath, warn);
    if (point.recovered.address !== address || point.recovered.advertise !== advertise) {
      journal.relocate({ address, advertise });
    }
    return { journal, runId: point.recovered.runId };
  }
  const runId = randomUUID();
  const journal = Journal.create(folder.journalPath, warn);
  journal.append({ kind: 'run', format: 2, runId, address, ...(advertise !== undefined && { advertise }) });
  if (startStep > 0) journal.append({ kind: 'rewind', step: startStep });
  return { journal, runId };
}
