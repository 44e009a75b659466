/**
 * Where this process stands among the nodes of a job, read from the environment that a launcher or scheduler gave it: Slurm, Open MPI,
 * MPICH, Kubernetes, torchrun's variables (Kubeflow), SkyPilot. What each of them sets was recorded from real starts, as in
 * test/unit/cluster/environments.ts. A pure function: it neither resolves names nor connects.
 */
import { UserError } from '../base/errors.ts';
import { slurmNodes } from './slurmNodes.ts';

/** What determined the rank of this node. */
export type PlacementSource = 'options' | 'LOCKSTEP' | 'torchrun' | 'mpi' | 'slurm' | 'kubernetes' | 'skypilot';

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

export type Environment = Readonly<Record<string, string | undefined>>;

/** The port of the coordinator where nothing else determines it. */
export const defaultPort = 5555;

/** A job of Slurm has a port of its own, because another job may coordinate on the same node. Below the ports that systems hand out. */
const slurmPorts = { first: 10_000, count: 20_000 };

/** Slurm numbers batch shells and interactive shells from here on (slurm.h, SLURM_MAX_NORMAL_STEP_ID). */
const firstSpecialStep = 0xffff_fff0;

const nodesMax = 65_536;

/** What one launcher says. Its number of nodes may be unknown. */
interface Found {
  readonly source: PlacementSource;
  readonly nodeRank: number;
  readonly nodeCount?: number | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly localCpus?: number | undefined;
  readonly jobId?: string | undefined;
}

/**
 * In the order in which they are asked. An MPI launcher that was started inside a job of Slurm stands nearer to this process than Slurm,
 * whose variables then describe the launcher's own processes.
 */
const launchers: readonly ((env: Environment) => Found | undefined)[] = [
  torchrun,
  openMpi,
  hydra,
  slurm,
  pmi,
  kubernetes,
  skypilot,
];

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

function launched(env: Environment): Found | undefined {
  for (const launcher of launchers) {
    const found = launcher(env);
    if (found !== undefined) return found;
  }
  return undefined;
}

function coordinatorOf(
  env: Environment,
  options: PlacementOptions,
  found: Found | undefined,
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

/** Variables of torchrun and of those who imitate it: Kubeflow's PET_*, or NODE_RANK with MASTER_ADDR. */
function torchrun(env: Environment): Found | undefined {
  const pet = wholeNumber(env, 'PET_NODE_RANK');
  if (pet !== undefined) return { source: 'torchrun', nodeRank: pet, nodeCount: petNodes(env) };
  // The name is common: alone it says little.
  if (text(env, 'MASTER_ADDR') === undefined) return undefined;
  const nodeRank = wholeNumber(env, 'NODE_RANK');
  if (nodeRank === undefined) return undefined;
  return { source: 'torchrun', nodeRank, nodeCount: wholeNumber(env, 'NNODES') ?? wholeNumber(env, 'NUM_NODES') };
}

/** `4`, or the range `2:4`, which lets torchrun start with 2; --min-workers says this here. */
function petNodes(env: Environment): number | undefined {
  const range = /^\d{1,9}:(\d{1,9})$/.exec(env['PET_NNODES'] ?? '');
  return range ? Number(range[1]) : wholeNumber(env, 'PET_NNODES');
}

/** `mpirun` of Open MPI 3 to 5. */
function openMpi(env: Environment): Found | undefined {
  const nodeRank = wholeNumber(env, 'OMPI_COMM_WORLD_RANK');
  if (nodeRank === undefined) return undefined;
  onePerNode(wholeNumber(env, 'OMPI_COMM_WORLD_LOCAL_SIZE') ?? 1, 'mpirun', 'add --map-by ppr:1:node');
  const nodeCount = wholeNumber(env, 'OMPI_COMM_WORLD_SIZE');
  return { source: 'mpi', nodeRank, nodeCount, jobId: text(env, 'PMIX_NAMESPACE') };
}

/** `mpirun` of MPICH and of Intel MPI. */
function hydra(env: Environment): Found | undefined {
  const nodeRank = wholeNumber(env, 'PMI_RANK');
  if (nodeRank === undefined || text(env, 'MPI_LOCALNRANKS') === undefined) return undefined;
  onePerNode(wholeNumber(env, 'MPI_LOCALNRANKS') ?? 1, 'mpirun', 'add -ppn 1');
  return { source: 'mpi', nodeRank, nodeCount: wholeNumber(env, 'PMI_SIZE') };
}

/** `srun`, in a job or by itself. */
function slurm(env: Environment): Found | undefined {
  const job = wholeNumber(env, 'SLURM_JOB_ID');
  if (job === undefined) return undefined;
  const step = wholeNumber(env, 'SLURM_STEP_ID');
  if (step === undefined || step >= firstSpecialStep) {
    throw new UserError(
      `this process runs in job ${job} of Slurm, but srun did not start it, so the other nodes have none: ` +
        'write srun --ntasks-per-node=1 before this command',
    );
  }
  const [nodeRank, nodeCount, tasks] = ['SLURM_NODEID', 'SLURM_STEP_NUM_NODES', 'SLURM_STEP_NUM_TASKS'].map((name) =>
    required(env, name, 'srun'),
  ) as [number, number, number];
  if (tasks > nodeCount) onePerNode(Math.ceil(tasks / nodeCount), 'srun', 'add --ntasks-per-node=1');
  const [host] = slurmNodes(text(env, 'SLURM_STEP_NODELIST') ?? '');
  return {
    source: 'slurm',
    nodeRank,
    nodeCount,
    host,
    // The same after a requeue, so that the address in the journal stays right.
    port: slurmPorts.first + ((job * 7 + step) % slurmPorts.count),
    localCpus: wholeNumber(env, 'SLURM_CPUS_ON_NODE'),
    jobId: `${job}.${step}.${wholeNumber(env, 'SLURM_RESTART_COUNT') ?? 0}`,
  };
}

/** Other launchers that speak PMI or PMIx. Only PMI says how many there are. */
function pmi(env: Environment): Found | undefined {
  const nodeRank = wholeNumber(env, 'PMI_RANK') ?? wholeNumber(env, 'PMIX_RANK');
  if (nodeRank === undefined) return undefined;
  return { source: 'mpi', nodeRank, nodeCount: wholeNumber(env, 'PMI_SIZE'), jobId: text(env, 'PMIX_NAMESPACE') };
}

/** A pod of an Indexed Job; the manifest sets LOCKSTEP_NODES, and MASTER_ADDR or LOCKSTEP_COORDINATOR. */
function kubernetes(env: Environment): Found | undefined {
  const nodeRank = wholeNumber(env, 'JOB_COMPLETION_INDEX');
  return nodeRank === undefined ? undefined : { source: 'kubernetes', nodeRank };
}

function skypilot(env: Environment): Found | undefined {
  const nodeRank = wholeNumber(env, 'SKYPILOT_NODE_RANK');
  if (nodeRank === undefined) return undefined;
  const [host] = (env['SKYPILOT_NODE_IPS'] ?? '').split('\n').map((line) => line.trim());
  return {
    source: 'skypilot',
    nodeRank,
    nodeCount: wholeNumber(env, 'SKYPILOT_NUM_NODES'),
    host: host === '' ? undefined : host,
    jobId: text(env, 'SKYPILOT_TASK_ID'),
  };
}

/** Workers share the cores of their node themselves, and two processes that both take all of them would slow each other down. */
function onePerNode(tasks: number, launcher: string, cure: string): void {
  if (tasks === 1) return;
  throw new UserError(
    `${launcher} started ${tasks} tasks per node, but launch cluster is one process per node, whose --workers share its cores: ${cure}`,
  );
}

function required(env: Environment, name: string, launcher: string): number {
  const value = wholeNumber(env, name);
  if (value === undefined)
    throw new UserError(`${name} is not set, which ${launcher} sets: add --node-rank and --nodes`);
  return value;
}

function portOf(env: Environment, name: string): number | undefined {
  const port = wholeNumber(env, name);
  if (port === undefined || (port >= 1 && port <= 65_535)) return port;
  throw new UserError(`${name}: expected a port from 1 to 65535, received ${port}`);
}

/** Undefined if the variable is absent or empty. */
function wholeNumber(env: Environment, name: string): number | undefined {
  const value = text(env, name);
  if (value === undefined) return undefined;
  if (!/^\d{1,10}$/.test(value))
    throw new UserError(`${name}: expected a whole number, received "${value.slice(0, 40)}"`);
  return Number(value);
}

function text(env: Environment, name: string): string | undefined {
  return env[name]?.trim() || undefined;
}

function noRank(): UserError {
  return new UserError(
    'nothing says which node of the job this is: start this command by srun, mpirun or a Kubernetes Indexed Job, ' +
      'or give each node --node-rank R --nodes N --coordinator HOST:PORT',
  );
}
