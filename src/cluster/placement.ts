/**
 * Where this process stands among the nodes of a job, read from the environment that a launcher or scheduler gave it: Slurm, Open MPI,
 * MPICH, Kubernetes, torchrun's variables (Kubeflow), SkyPilot (launchers.ts). A pure function: it neither resolves names nor connects.
 */
import { UserError } from '../base/errors.ts';
import { type Environment, portOf, text, wholeNumber } from './environmentValues.ts';
import { type Launched, type LauncherKind, launched } from './launchers.ts';

/** What determined the rank of this node. */
export type PlacementSource = 'options' | 'LOCKSTEP' | LauncherKind;

export interface Placement {
  readonly source: PlacementSource;
  /** 0: coordinates the run. */
  readonly nodeRank: number;
  readonly nodeCount: number;
  /** Where the other nodes reach node 0; undefined if only node 0 can tell: MPI names no node. */
  readonly coordinator: HostPort | undefined;
  /** Number of CPUs that the scheduler grants this process; undefined if it does not say. A control group may grant fewer. */
  readonly localCpus: number | undefined;
  /** The same on every node of one start of the job, and different for each start; undefined if the launcher has no such name. */
  readonly jobId: string | undefined;
}

export interface HostPort {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Options of the command line, which the environment never overrides. */
export interface PlacementOptions {
  readonly nodeRank?: number | undefined;
  readonly nodes?: number | undefined;
  /** `HOST:PORT` or `HOST`, with or without `tcp://`. */
  readonly coordinator?: string | undefined;
}

/** The port of the coordinator where nothing else determines it. */
export const defaultPort = 5555;

const nodesMax = 65_536;

/**
 * The place of this process. Each of rank, number of nodes and address of node 0 comes from the options, else from LOCKSTEP_NODE_RANK,
 * LOCKSTEP_NODES and LOCKSTEP_COORDINATOR, else from the launcher; MASTER_ADDR and MASTER_PORT, if set, also name node 0.
 * @throws UserError if nothing says it, or a value makes no sense
 */
export function placementOf(env: Environment, options: PlacementOptions = {}): Placement {
  const ownRank = options.nodeRank ?? wholeNumber(env, 'LOCKSTEP_NODE_RANK');
  // Its demands on a launcher, such as one task per node, do not concern a rank that the user chose.
  const found = ownRank === undefined ? launched(env) : undefined;
  const nodeRank = ownRank ?? found?.nodeRank;
  if (nodeRank === undefined) throw noRank();
  const nodeCount = options.nodes ?? wholeNumber(env, 'LOCKSTEP_NODES') ?? found?.nodeCount;
  if (nodeCount === undefined) {
    throw new UserError(
      'the number of nodes is unknown, because this launcher does not set it: add --nodes N, or set LOCKSTEP_NODES',
    );
  }
  if (!Number.isInteger(nodeCount) || nodeCount < 1 || nodeCount > nodesMax) {
    throw new UserError(`expected 1 to ${nodesMax} nodes, received ${nodeCount}`);
  }
  if (!Number.isInteger(nodeRank) || nodeRank < 0 || nodeRank >= nodeCount) {
    throw new UserError(
      `node rank ${nodeRank} of ${nodeCount} nodes: ranks count from 0, so expected 0 to ${nodeCount - 1}`,
    );
  }
  const chosenBy = options.nodeRank === undefined ? 'LOCKSTEP' : 'options';
  return {
    source: found?.source ?? chosenBy,
    nodeRank,
    nodeCount,
    coordinator: coordinatorOf(env, options, found),
    localCpus: found?.localCpus,
    jobId: found?.jobId,
  };
}

function coordinatorOf(
  env: Environment,
  options: PlacementOptions,
  found: Launched | undefined,
): Placement['coordinator'] {
  const own = options.coordinator ?? env['LOCKSTEP_COORDINATOR'];
  const from = options.coordinator === undefined ? 'LOCKSTEP_COORDINATOR' : '--coordinator';
  const master = text(env, 'PET_MASTER_ADDR') ?? text(env, 'MASTER_ADDR');
  const port = portOf(env, 'PET_MASTER_PORT') ?? portOf(env, 'MASTER_PORT') ?? found?.port ?? defaultPort;
  if (own) return hostPort(own, from, port);
  const host = master ?? found?.host;
  return host === undefined ? undefined : { host, port };
}

function hostPort(given: string, from: string, fallback: number): HostPort {
  const match = /^(?:tcp:\/\/)?(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:[\]/,\s]+))(?::(\d{1,5}))?$/.exec(given);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? fallback : Number(match[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new UserError(`${from}: expected HOST:PORT, the address of node 0, received "${given}"`);
  }
  return { host, port };
}

function noRank(): UserError {
  return new UserError(
    'nothing says which node of the job this is: start this command by srun, mpirun or a Kubernetes Indexed Job, ' +
      'or give each node --node-rank R --nodes N --coordinator HOST:PORT',
  );
}
