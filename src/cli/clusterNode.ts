/** What one node of `launch cluster` does: node 0 coordinates and works, the others find it and join. */
import { existsSync } from 'node:fs';
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
import { writeAgain } from '../cluster/again.ts';
import { failureLengthMax } from '../cluster/coordinatorFile.ts';
import { listeningHostOf } from '../cluster/listeningHost.ts';
import { NodeZero, type NodeZeroEnd } from '../cluster/nodeZero.ts';
import type { Placement } from '../cluster/placement.ts';
import { requeueWithoutNode0 } from '../cluster/slurmRequeue.ts';
import { formatTcpAddress, joinAddresses } from '../comm/linkAddress.ts';
import type { RingPlace } from '../comm/ringPlace.ts';
import { RunFolder } from '../run/runFolder.ts';
import { joinKeys } from '../run/runKeyFiles.ts';
import type { RunView, StartedRun } from '../run/runObserver.ts';
import { isSchedulers, onEndRequest } from './endRequests.ts';
import { findCoordinator } from './findCoordinator.ts';
import { type JoinEnd, joinRun, runFailed } from './join.ts';
import { keysInEnvironment } from './keyVariables.ts';
import { print, warn } from './output.ts';
import { train } from './train.ts';
import type { TrainArguments } from './trainOptions.ts';

/** Where one signal ends all nodes: how long the others look for a node 0 that listened before, in seconds. */
const returnSeconds = 10;

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
  const warnOf = (error: unknown) => warn(messageOf(error));
  const files = new NodeZero({
    runDir: folder.path,
    jobId,
    // Workers that ssh starts are told the address.
    needsChange: nodeCount > 1 && jobId === undefined && coordinator === undefined && node.started === undefined,
    onWarning: warnOf,
  });
  const ignoreRequests = onEndRequest((cause) => void endBeforeStart(folder, files, isSchedulers(cause)));
  try {
    if (holdsRun && resume === 'never') {
      throw new UserError(
        `${shortPath(folder.path)} already holds a run: omit --resume never to continue it, or choose another --run-dir`,
      );
    }
    const unused = holdsRun ? notUsed(args) : [];
    if (unused.length > 0) {
      warn(
        `${shortPath(folder.path)} holds a run, which continues with its own config and weights. Not used: ${unused.join(', ')} ` +
          '(change its config with --set, or choose another --run-dir)',
      );
    }
    return await train(
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
        continuesStored: resume === 'auto' && !holdsRun,
        claimed: () => files.claimed(),
        started: (run, view) => {
          ignoreRequests();
          const [address = run.address] = joinAddresses(run.address, run.advertise);
          node.started?.(run, view, address);
          files.listens(address);
        },
        ended: async (end) => {
          ignoreRequests();
          // A failure is thrown, whether or not it can be written too.
          if (end.kind === 'failed') await files.ends(failed(end.error)).catch(warnOf);
          else await files.ends({ kind: end.kind === 'complete' ? 'ended' : end.kind });
        },
      },
    );
  } catch (error) {
    if (nodeCount > 1 && !files.isClaimed) await tellFailure(folder, files, error).catch(warnOf);
    // Its process may be about to end: on a node that is lost, a pod lives for a while beside the one that replaces it.
    const isTaken = !files.isClaimed && (await folder.isInUse().catch(() => false));
    throw isTaken ? ofThisStart(error) : error;
  } finally {
    ignoreRequests();
  }
}

/** The options that a run which continues has no use for. */
function notUsed({ config, initFrom }: TrainArguments): string[] {
  const given = { '--config': config, '--init-from': initFrom };
  return Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${shellWord(value)}`]));
}

function failed(error: unknown): NodeZeroEnd {
  return { kind: 'failed', message: fullMessageOf(error).slice(0, failureLengthMax) };
}

/** Tells the others, who need not wait, of a failure before the run directory was claimed; not in the directory of another job. */
async function tellFailure({ path, configPath }: RunFolder, files: NodeZero, error: unknown): Promise<void> {
  const folder = new RunFolder(path, { isNew: !existsSync(configPath) });
  if (await folder.isInUse()) return;
  await folder.claim(() => {});
  try {
    await files.claimed();
    await files.ends(failed(error));
  } finally {
    await folder.release();
  }
}

/** Nothing is computed yet, so there is nothing to save. */
async function endBeforeStart(folder: RunFolder, files: NodeZero, isSchedulers: boolean): Promise<never> {
  if (!isSchedulers) process.exit(interruptedExitCode);
  // Another job there is not this one's to start again.
  const isFree = files.isClaimed || !(await folder.isInUse().catch(() => false));
  if (isFree) await writeAgain(folder.path).catch((error: unknown) => warn(messageOf(error)));
  process.exit(unfinishedExitCode);
}

/** Adds the workers of this node to the run of node 0. @returns the exit code */
export async function follow(node: JobNode): Promise<number> {
  const ignoreRequests = onEndRequest((cause) =>
    process.exit(isSchedulers(cause) ? unfinishedExitCode : interruptedExitCode),
  );
  const given = await joinKeys(undefined, keysInEnvironment().join);
  let found: Awaited<ReturnType<typeof findCoordinator>>;
  try {
    found = await findCoordinator({ ...node, given }).finally(ignoreRequests);
  } catch (error) {
    throw ofThisStart(error);
  }
  if (found === 'ended') {
    print('nothing left to train');
    return 0;
  }
  const { workers, cores, ring, maxRestarts, placement } = node;
  const { waitSeconds, ...run } = found;
  // These signal all nodes at once; others, such as Kubernetes, may mean just this one.
  const staysForScheduler = placement.source === 'slurm' || placement.source === 'mpi';
  let end: JoinEnd;
  try {
    // There node 0 does not come back without the others.
    const waitMs = 1_000 * (staysForScheduler ? Math.min(waitSeconds, returnSeconds) : waitSeconds);
    const { nodeRank } = placement;
    end = await joinRun({ ...run, waitMs, workers, cores, ring, maxRestarts, staysForScheduler, nodeRank });
  } catch (error) {
    if (error instanceof PeerError && (await isRequeuedBySlurm(node))) return unfinishedExitCode;
    throw ofThisStart(error);
  }
  switch (end.kind) {
    case 'left':
      return isSchedulers(end.cause) ? unfinishedExitCode : interruptedExitCode;
    case 'unfinished':
      return unfinishedExitCode;
    case 'interrupted':
      return interruptedExitCode;
    case 'failed':
      throw runFailed();
    case 'complete':
      return 0;
    default:
      throw new InvariantError(`unknown end ${JSON.stringify(end satisfies never)}`);
  }
}

/**
 * The words of all nodes are the same, so code 2 means that starting this node again cannot help. What the run or its directory refuses at one
 * moment may pass: the run may be an earlier one's.
 */
function ofThisStart(error: unknown): unknown {
  return error instanceof UserError ? new PeerError(error.message, { cause: error }) : error;
}

/** If node 0 is dead, starts the job again, which resumes from the newest checkpoint. */
async function isRequeuedBySlurm({ placement: { source, coordinator } }: JobNode): Promise<boolean> {
  const job = Number(process.env['SLURM_JOB_ID']);
  if (source !== 'slurm' || coordinator === undefined) return false;
  const requeue = await requeueWithoutNode0(job, coordinator);
  print(requeue.isRequeued ? `node 0 is dead: job ${job} is requeued` : `job ${job} is not requeued: ${requeue.why}`);
  return requeue.isRequeued;
}
