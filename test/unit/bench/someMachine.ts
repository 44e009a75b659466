import type { Machine } from '../../../src/bench/machine.ts';

/** A machine for reports. */
export const machine: Machine = {
  cpu: 'Some CPU',
  cores: 2,
  memoryGiB: 8,
  os: 'linux x64',
  node: '20.19.0',
  lockstep: '0.1.0',
  isa: 'avx2',
  threads: 1,
  fmaGflops: 100,
  fmaGflopsByThreads: { 1: 100 },
  bf16Gflops: 200,
};
