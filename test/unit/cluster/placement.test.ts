import { describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { placementOf } from '../../../src/cluster/placement.ts';
import {
  indexedJob,
  kubeflow,
  mpich,
  openMpi,
  skypilot,
  slurmBatch,
  srunPmi2,
  srunTask,
  srunTwoTasks,
} from './environments.ts';

describe('placementOf', () => {
  it('reads a task of srun: the first node coordinates, at a port that follows from the job', () => {
    expect(placementOf(srunTask)).toEqual({
      source: 'slurm',
      nodeRank: 1,
      nodeCount: 3,
      coordinator: { host: 'n1', port: 10_119 },
      localCpus: 2,
      jobId: '17.0.0',
    });
    const requeued = placementOf({ ...srunTask, SLURM_RESTART_COUNT: '2' });
    expect(requeued).toMatchObject({ coordinator: { host: 'n1', port: 10_119 }, jobId: '17.0.2' });
    expect(placementOf(srunPmi2)).toEqual(placementOf(srunTask));
  });

  it('reads mpirun, which names no node', () => {
    const expected = { source: 'mpi', nodeRank: 1, nodeCount: 2, coordinator: undefined, localCpus: undefined };
    expect(placementOf(openMpi(1))).toEqual({ ...expected, jobId: '1828061185' });
    expect(placementOf(mpich(1))).toEqual({ ...expected, jobId: undefined });
  });

  it('prefers mpirun to the job of Slurm that it runs in', () => {
    expect(placementOf({ ...slurmBatch, ...openMpi(0) })).toMatchObject({ source: 'mpi', nodeRank: 0, nodeCount: 2 });
    expect(placementOf({ ...srunTask, ...mpich(0) })).toMatchObject({ source: 'mpi', nodeRank: 0, nodeCount: 2 });
  });

  it('reads Kubernetes, Kubeflow and SkyPilot', () => {
    expect(placementOf(kubeflow)).toMatchObject({
      source: 'torchrun',
      nodeRank: 2,
      nodeCount: 4,
      coordinator: { host: 'train-node-0-0.train', port: 29_400 },
    });
    expect(placementOf({ ...kubeflow, PET_NNODES: '2:4' })).toMatchObject({ nodeCount: 4 });
    expect(placementOf(indexedJob)).toMatchObject({
      source: 'kubernetes',
      nodeRank: 1,
      nodeCount: 3,
      coordinator: { host: 'train-0.train', port: 5555 },
    });
    expect(placementOf(skypilot)).toMatchObject({
      source: 'skypilot',
      nodeRank: 1,
      nodeCount: 2,
      coordinator: { host: '10.0.0.4', port: 5555 },
    });
  });

  it('names each start of a task that SkyPilot recovers', () => {
    const [first, ...more] = [
      skypilot,
      { ...skypilot, SKYPILOT_NODE_RANK: '0' },
      { ...skypilot, SKYPILOT_NODE_IPS: '10.0.0.9\n10.0.0.7' },
    ].map((env) => placementOf(env).jobId);
    expect(first).toMatch(/^sky-managed-2026-11-01_train_1-0\.[0-9a-f]{16}$/);
    expect(more[0]).toBe(first);
    expect(more[1]).not.toBe(first);
  });

  it("reads torchrun's variables, and takes only the address from MASTER_ADDR alone", () => {
    const master = { MASTER_ADDR: 'head', MASTER_PORT: '29500' };
    expect(placementOf({ ...master, NODE_RANK: '1', NNODES: '2' })).toMatchObject({
      source: 'torchrun',
      nodeRank: 1,
      nodeCount: 2,
      coordinator: { host: 'head', port: 29_500 },
    });
    expect(placementOf({ ...srunTask, ...master })).toMatchObject({
      source: 'slurm',
      coordinator: { host: 'head', port: 29_500 },
    });
    expect(placementOf({ ...srunTask, NODE_RANK: '7' })).toMatchObject({ source: 'slurm', nodeRank: 1 });
  });

  it('prefers options to LOCKSTEP_*, and these to the launcher', () => {
    const own = { LOCKSTEP_NODE_RANK: '0', LOCKSTEP_NODES: '2', LOCKSTEP_COORDINATOR: 'tcp://[fd00::1]:7000' };
    expect(placementOf({ ...srunTwoTasks, ...own })).toEqual({
      source: 'LOCKSTEP',
      nodeRank: 0,
      nodeCount: 2,
      coordinator: { host: 'fd00::1', port: 7000 },
      localCpus: undefined,
      jobId: undefined,
    });
    expect(placementOf(own, { nodeRank: 3, nodes: 4, coordinator: 'head' })).toMatchObject({
      source: 'options',
      nodeRank: 3,
      nodeCount: 4,
      coordinator: { host: 'head', port: 5555 },
    });
    expect(placementOf(srunTask, { coordinator: 'head:1' })).toMatchObject({
      source: 'slurm',
      nodeRank: 1,
      coordinator: { host: 'head', port: 1 },
    });
  });

  it.each([
    ['no launcher', {}, /nothing says which node/],
    ['a batch shell', slurmBatch, /job 17 of Slurm, but srun did not start it.*srun --ntasks-per-node=1/],
    ['an interactive shell', { ...srunTask, SLURM_STEP_ID: '4294967290' }, /srun did not start it/],
    ['two tasks per node by srun', srunTwoTasks, /srun started 2 tasks per node.*--ntasks-per-node=1/],
    ['two tasks per node by Open MPI', openMpi(1, 2), /2 tasks per node.*--map-by ppr:1:node/],
    ['two tasks per node by MPICH', mpich(1, 2), /2 tasks per node.*-ppn 1/],
    ['a bad rank', { ...srunTask, SLURM_NODEID: '-1' }, /SLURM_NODEID: expected a whole number, received "-1"/],
    ['a rank beyond the nodes', { ...srunTask, SLURM_NODEID: '3' }, /node rank 3 of 3 nodes/],
    ['no number of nodes', { ...indexedJob, LOCKSTEP_NODES: '' }, /number of nodes is unknown.*LOCKSTEP_NODES/],
    ['PMIx alone', { PMIX_RANK: '0' }, /number of nodes is unknown/],
    ['a bad port', { ...srunTask, MASTER_PORT: '70000' }, /MASTER_PORT: expected a port/],
    ['a bad address', { ...srunTask, LOCKSTEP_COORDINATOR: 'a:b:c' }, /LOCKSTEP_COORDINATOR: expected HOST:PORT/],
    ['a bad node list', { ...srunTask, SLURM_STEP_NODELIST: 'n[1-' }, /expected a node list of Slurm/],
  ])('refuses %s', (_, env, message) => {
    expect(() => placementOf(env)).toThrow(UserError);
    expect(() => placementOf(env)).toThrow(message);
  });
});
