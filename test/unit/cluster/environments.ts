/** What launchers set, without what does not matter here; recorded from the launchers that the names say, the others from their manuals. */
import type { Environment } from '../../../src/cluster/environmentValues.ts';

/** Slurm 22.05: `srun --ntasks-per-node=1` in a job of 3 nodes with 2 CPUs each, the task on node n2. */
export const srunTask = {
  SLURMD_NODENAME: 'n2',
  SLURM_CPUS_ON_NODE: '2',
  SLURM_JOB_ID: '17',
  SLURM_JOB_NODELIST: 'n[1-3]',
  SLURM_LOCALID: '0',
  SLURM_NNODES: '3',
  SLURM_NODEID: '1',
  SLURM_NTASKS: '3',
  SLURM_PROCID: '1',
  SLURM_STEP_ID: '0',
  SLURM_STEP_NODELIST: 'n[1-3]',
  SLURM_STEP_NUM_NODES: '3',
  SLURM_STEP_NUM_TASKS: '3',
  SLURM_STEP_TASKS_PER_NODE: '1(x3)',
} satisfies Environment;

/** Slurm 22.05: two tasks per node, the second one on node n3. */
export const srunTwoTasks = {
  ...srunTask,
  SLURM_NODEID: '2',
  SLURM_LOCALID: '1',
  SLURM_NTASKS: '6',
  SLURM_PROCID: '5',
  SLURM_STEP_NUM_TASKS: '6',
  SLURM_STEP_TASKS_PER_NODE: '2(x3)',
} satisfies Environment;

/** Slurm 22.05: the shell of a batch script. */
export const slurmBatch = {
  SLURMD_NODENAME: 'n1',
  SLURM_CPUS_ON_NODE: '2',
  SLURM_JOB_ID: '17',
  SLURM_JOB_NODELIST: 'n[1-3]',
  SLURM_LOCALID: '0',
  SLURM_NNODES: '3',
  SLURM_NODEID: '0',
  SLURM_NTASKS: '6',
  SLURM_PROCID: '0',
} satisfies Environment;

/** Open MPI 4.1.4: `mpirun -np 2 --map-by ppr:1:node`, but both on one node where `tasks` is 2. */
export function openMpi(rank: number, tasks = 1): Environment {
  return {
    OMPI_COMM_WORLD_LOCAL_RANK: tasks === 1 ? '0' : String(rank),
    OMPI_COMM_WORLD_LOCAL_SIZE: String(tasks),
    OMPI_COMM_WORLD_NODE_RANK: '0',
    OMPI_COMM_WORLD_RANK: String(rank),
    OMPI_COMM_WORLD_SIZE: '2',
    OMPI_MCA_orte_hnp_uri: '1828061184.0;tcp://10.78.0.1:35403',
    PMIX_HOSTNAME: 'vm',
    PMIX_NAMESPACE: '1828061185',
    PMIX_RANK: String(rank),
  };
}

/** MPICH 4.0.2: `mpirun.mpich -np 2`, with `tasks` of them on this node. */
export function mpich(rank: number, tasks = 1): Environment {
  return {
    MPIR_CVAR_CH3_INTERFACE_HOSTNAME: 'vm',
    MPI_LOCALNRANKS: String(tasks),
    MPI_LOCALRANKID: '0',
    PMI_FD: '6',
    PMI_RANK: String(rank),
    PMI_SIZE: '2',
  };
}

/** Slurm 22.05: `srun --mpi=pmi2`. */
export const srunPmi2 = { ...srunTask, PMI_FD: '6', PMI_JOBID: '17.0', PMI_RANK: '1', PMI_SIZE: '3' };

/** Kubeflow Trainer v2, the runtime torch-distributed. */
export const kubeflow = {
  JOB_COMPLETION_INDEX: '2',
  PET_MASTER_ADDR: 'train-node-0-0.train',
  PET_MASTER_PORT: '29400',
  PET_NNODES: '4',
  PET_NODE_RANK: '2',
  PET_NPROC_PER_NODE: 'auto',
} satisfies Environment;

/** An Indexed Job with what the manifest adds. */
export const indexedJob = {
  JOB_COMPLETION_INDEX: '1',
  LOCKSTEP_NODES: '3',
  MASTER_ADDR: 'train-0.train',
} satisfies Environment;

export const skypilot = {
  SKYPILOT_NODE_IPS: '10.0.0.4\n10.0.0.7',
  SKYPILOT_NODE_RANK: '1',
  SKYPILOT_NUM_NODES: '2',
  SKYPILOT_TASK_ID: 'sky-managed-2026-11-01_train_1-0',
} satisfies Environment;
