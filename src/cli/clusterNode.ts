/** What one node of `launch cluster` does: node 0 coordinates and works, the others find it and join. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  fullMessageOf,
  InvariantError,
  interruptedExitCode,
  messageOf,
  PeerError,
  UserError,
  unfinishedExitCode,
} from '../base/errors.ts';
import { shellWord } from '../base/shellWord.ts';
import { shortPath } from '../base/shortPath.ts';
import { removeAgain, writeAgain } from '../cluster/again.ts';
import {
  type CoordinatorState,
  readCoordinatorFile,
  removeCoordinatorFile,
  writeCoordinatorFile,
} from '../cluster/coordinatorFile.ts';
import { listeningHostOf } from '../cluster/listeningHost.ts';
import type { Placement } from '../cluster/placement.ts';
import { formatTcpAddress, joinAddresses } from '../comm/linkAddress.ts';
import type { RingPlace } from '../comm/ringPlace.ts';
import type { RunKeys } from '../comm/runKeys.ts';
import type { RunFolder } from '../run/runFolder.ts';
import { joinKeys, joinKeyVariable } from '../run/runKeyFiles.ts';
import type { RunView, StartedRun } from '../run/runObserver.ts';
import { isSchedulers, onEndRequest } from './endRequests.ts';
import { joinRun } from './join.ts';
import { keysInEnvironment } from './keyVariables.ts';
import { print, warn } from './output.ts';
import { train } from './train.ts';
import type { TrainArguments } from './trainOptions.ts';

/** How often a node looks for what node 0 writes. */
const pollMs = 250;

export interface JobNode {
  readonly placement: Placement;
  readonly folder: RunFolder;
  /** Number of workers on each node. */
  readonly workers: number;
  /** Cores of this node for them. */
  readonly cores: number;
  /** Time that the other nodes wait for node 0, in seconds. */
  readonly waitSeconds: number;
  /** Where the ring ends of this node's workers may listen. */
  readonly ring: RingPlace;
  /** Maximum number of restarts of the workers of this node. */
  readonly maxRestarts: number;
  /** Number of workers on all nodes that the run waits for at its start. */
  readonly startWorkers: number;
  /** Called on node 0 when the run listens. @param address where the other nodes join */
  readonly started?: (run: StartedRun, view: RunView, address: string) => void;
}

/**
 * Trains, with the workers of the other nodes.
 * @param args the options of the run
 * @param resume whether to resume a run that the directory holds, or to refuse it
 * @returns the exit code
 */
export async function coordinate(args: TrainArguments, resume: 'auto' | 'never', node: JobNode): Promise<number> {
  const { folder, cores, startWorkers, placement } = node;
  const { nodeCount, coordinator, jobId } = placement;
  const holdsRun = existsSync(folder.configPath);
  if (holdsRun && resume === 'never') {
    throw new UserError(
      `${shortPath(folder.path)} already holds a run: omit --resume never to continue it, or choose another --run-dir`,
    );
  }
  await removeAgain(folder.path);
  await removeCoordinatorFile(folder.path);
  const tell = (state: CoordinatorState) => writeCoordinatorFile(folder.path, jobId, state);
  const ignoreRequests = onEndRequest((cause) => void endBeforeStart(folder, isSchedulers(cause)));
  let hasTold = false;
  try {
    const code = await train(
      {
        ...args,
        // A run has its own config and weights.
        ...(holdsRun && { resume: folder.path, config: undefined, initFrom: undefined, runDir: undefined }),
        ...(nodeCount > 1 && {
          listen: formatTcpAddress({ host: await listeningHostOf(coordinator?.host), port: coordinator?.port ?? 0 }),
          advertise: coordinator && formatTcpAddress(coordinator),
        }),
      },
      {
        startWorkers,
        cores,
        started: (run, view) => {
          ignoreRequests();
          hasTold = true;
          const [address = run.address] = joinAddresses(run.address, run.advertise);
          node.started?.(run, view, address);
          tell({ kind: 'listening', address }).catch((error: unknown) => warn(messageOf(error)));
        },
        unfinished: () => writeAgain(folder.path),
      },
    );
    if (!hasTold) await tell({ kind: 'ended' });
    return code;
  } catch (error) {
    // The others need not wait. Where this cannot be written either, they do.
    if (!hasTold) await tell({ kind: 'failed', message: fullMessageOf(error) }).catch(() => undefined);
    throw error;
  } finally {
    ignoreRequests();
  }
}

/** Nothing is computed yet, so there is nothing to save. */
async function endBeforeStart({ path }: RunFolder, isSchedulers: boolean): Promise<never> {
  if (!isSchedulers) process.exit(interruptedExitCode);
  await writeAgain(path).catch((error: unknown) => warn(messageOf(error)));
  process.exit(unfinishedExitCode);
}

/** Adds the workers of this node to the run of node 0. @returns the exit code */
export async function follow(node: JobNode): Promise<number> {
  const ignoreRequests = onEndRequest((cause) =>
    process.exit(isSchedulers(cause) ? unfinishedExitCode : interruptedExitCode),
  );
  const found = await findCoordinator(node).finally(ignoreRequests);
  if (found === 'ended') {
    print('nothing left to train');
    return 0;
  }
  const { workers, cores, ring, maxRestarts, placement } = node;
  const { waitSeconds, ...run } = found;
  // These signal all nodes at once; others, such as Kubernetes, may mean just this one.
  const staysForScheduler = placement.source === 'slurm' || placement.source === 'mpi';
  const end = await joinRun({
    ...run,
    waitMs: 1_000 * waitSeconds,
    workers,
    cores,
    ring,
    maxRestarts,
    staysForScheduler,
  });
  switch (end.kind) {
    case 'left':
      return isSchedulers(end.cause) ? unfinishedExitCode : interruptedExitCode;
    case 'unfinished':
      return unfinishedExitCode;
    case 'ended':
      return 0;
    default:
      throw new InvariantError(`unknown end ${JSON.stringify(end satisfies never)}`);
  }
}

interface Found {
  readonly address: string;
  readonly keys: RunKeys;
  /** Time for connecting, in seconds. */
  readonly waitSeconds: number;
}

/**
 * Where node 0 listens, and the key to join it. The file that node 0 writes is asked where it is needed: for the address, or to know that
 * a key in the run directory is the one of this start. Without a name of this start and with a known address, a key suffices.
 * @throws PeerError if node 0 failed, or has not written them in time
 */
async function findCoordinator({ placement, folder, waitSeconds }: JobNode): Promise<Found | 'ended'> {
  const { coordinator, jobId } = placement;
  const given = await joinKeys(undefined, keysInEnvironment().join);
  const needsFile = coordinator === undefined || (given === undefined && jobId !== undefined);
  const sinceMs = Date.now();
  for (let isFirst = true; ; isFirst = false) {
    const state = needsFile ? await readCoordinatorFile(folder.path, { jobId, sinceMs }) : undefined;
    if (state?.kind === 'ended') return 'ended';
    if (state?.kind === 'failed') throw new PeerError(`node 0 failed: ${state.message}`);
    if (!needsFile || state !== undefined) {
      const keys =
        given ?? (existsSync(folder.joinKeyPath) ? await joinKeys(folder.joinKeyPath, undefined) : undefined);
      const address = coordinator === undefined ? state?.address : formatTcpAddress(coordinator);
      const leftSeconds = Math.max(0, waitSeconds - (Date.now() - sinceMs) / 1_000);
      if (keys !== undefined && address !== undefined) return { address, keys, waitSeconds: leftSeconds };
    }
    if (Date.now() - sinceMs >= waitSeconds * 1_000) throw notFound(folder, { waitSeconds, needsFile });
    if (isFirst) print(`waiting for node 0 to write ${shortPath(folder.path)}`);
    await sleep(pollMs);
  }
}

function notFound(
  folder: RunFolder,
  { waitSeconds, needsFile }: { readonly waitSeconds: number; readonly needsFile: boolean },
): PeerError {
  const file = needsFile ? 'coordinator.json' : 'join.key';
  return new PeerError(
    `node 0 has not written ${shellWord(shortPath(folder.path))}/${file} within ${waitSeconds} s (--wait). ` +
      `See its output; if the nodes share no disk, set ${joinKeyVariable} and --coordinator`,
  );
}
