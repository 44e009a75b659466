/**
 * What each launcher and scheduler says of this process: its variables, recorded from real starts, as in
 * test/unit/cluster/environments.ts.
 */
import { createHash } from 'node:crypto';
import { UserError } from '../base/errors.ts';
import { type Environment, text, wholeNumber } from './environmentValues.ts';
import { slurmNodes } from './slurmNodes.ts';

export type LauncherKind = 'torchrun' | 'mpi' | 'slurm' | 'kubernetes' | 'skypilot';

/** A job of Slurm has a port of its own, because another job may coordinate on the same node. Below the ports that systems hand out. */
const slurmPorts = { first: 10_000, count: 20_000 };

/** Slurm numbers batch shells and interactive shells from here on (slurm.h, SLURM_MAX_NORMAL_STEP_ID). */
const firstSpecialStep = 0xffff_fff0;

/** What one launcher says. Its number of nodes may be unknown. */
export interface Launched {
  readonly source: LauncherKind;
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
const launchers: readonly ((env: Environment) => Launched | undefined)[] = [
  torchrun,
  openMpi,
  hydra,
  slurm,
  pmi,
  kubernetes,
  skypilot,
];

/** What the nearest launcher says; undefined if there is none. @throws UserError if it started this process in a way that makes no sense */
export function launched(env: Environment): Launched | undefined {
  for (const launcher of launchers) {
    const found = launcher(env);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Variables of torchrun and of those who imitate it: Kubeflow's PET_*, or NODE_RANK with MASTER_ADDR. */
function torchrun(env: Environment): Launched | undefined {
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
function openMpi(env: Environment): Launched | undefined {
  const nodeRank = wholeNumber(env, 'OMPI_COMM_WORLD_RANK');
  if (nodeRank === undefined) return undefined;
  onePerNode(wholeNumber(env, 'OMPI_COMM_WORLD_LOCAL_SIZE') ?? 1, 'mpirun', 'add --map-by ppr:1:node');
  const nodeCount = wholeNumber(env, 'OMPI_COMM_WORLD_SIZE');
  return { source: 'mpi', nodeRank, nodeCount, jobId: text(env, 'PMIX_NAMESPACE') };
}

/** `mpirun` of MPICH and of Intel MPI. */
function hydra(env: Environment): Launched | undefined {
  const nodeRank = wholeNumber(env, 'PMI_RANK');
  if (nodeRank === undefined || text(env, 'MPI_LOCALNRANKS') === undefined) return undefined;
  onePerNode(wholeNumber(env, 'MPI_LOCALNRANKS') ?? 1, 'mpirun', 'add -ppn 1');
  return { source: 'mpi', nodeRank, nodeCount: wholeNumber(env, 'PMI_SIZE') };
}

/** `srun`, in a job or by itself. */
function slurm(env: Environment): Launched | undefined {
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
function pmi(env: Environment): Launched | undefined {
  const nodeRank = wholeNumber(env, 'PMI_RANK') ?? wholeNumber(env, 'PMIX_RANK');
  if (nodeRank === undefined) return undefined;
  return { source: 'mpi', nodeRank, nodeCount: wholeNumber(env, 'PMI_SIZE'), jobId: text(env, 'PMIX_NAMESPACE') };
}

/** A pod of an Indexed Job; the manifest sets LOCKSTEP_NODES, and MASTER_ADDR or LOCKSTEP_COORDINATOR. */
function kubernetes(env: Environment): Launched | undefined {
  const nodeRank = wholeNumber(env, 'JOB_COMPLETION_INDEX');
  return nodeRank === undefined ? undefined : { source: 'kubernetes', nodeRank };
}

function skypilot(env: Environment): Launched | undefined {
  const nodeRank = wholeNumber(env, 'SKYPILOT_NODE_RANK');
  if (nodeRank === undefined) return undefined;
  const [host] = (env['SKYPILOT_NODE_IPS'] ?? '').split('\n').map((line) => line.trim());
  return {
    source: 'skypilot',
    nodeRank,
    nodeCount: wholeNumber(env, 'SKYPILOT_NUM_NODES'),
    host: host === '' ? undefined : host,
    jobId: skypilotStart(env),
  };
}

/** The task keeps its name when SkyPilot recovers it, on other machines. */
function skypilotStart(env: Environment): string | undefined {
  const task = text(env, 'SKYPILOT_TASK_ID');
  const machines = createHash('sha256')
    .update(env['SKYPILOT_NODE_IPS'] ?? '')
    .digest('hex');
  return task && `${task}.${machines.slice(0, 16)}`;
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
