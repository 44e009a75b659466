/** A script that starts one process per node by the `mpirun` of Open MPI, MPICH or Intel MPI. */
import { shellWord } from '../../base/shellWord.ts';
import { clusterWords, passingSignals, type ScriptOptions } from './scriptOptions.ts';

/** Text of a shell script, whose arguments go to `mpirun`: `bash run.sh --hostfile hosts`. */
export function mpiScript(options: ScriptOptions): string {
  const { nodes, program } = options;
  const start = `${program} ${clusterWords(options).map(shellWord).join(' ')}`;
  const mpirun = `if mpirun --version 2>/dev/null | grep -Eq 'Open MPI|OpenRTE|PRRTE'; then
  # --enable-recovery: the others continue if a node is lost. --bind-to none: workers use all cores that the node grants.
  mpirun --enable-recovery --map-by ppr:1:node --bind-to none -n ${nodes} "$@" ${start} &
else
  # Hydra (MPICH, Intel MPI) ends all processes if one dies; the same command resumes.
  mpirun -ppn 1 -n ${nodes} "$@" ${start} &
fi`;
  return `#!/usr/bin/env bash
# One process per node; --workers share its cores. Arguments go to mpirun: bash FILE --hostfile hosts
set -u
# mpirun kills all soon after TERM, and passes USR1 on: the run writes a checkpoint and ends with code 85.
${passingSignals('mpi', mpirun, 'TERM USR1')}
exit "$code"
`;
}
