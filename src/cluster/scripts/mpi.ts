/** A script that starts one process per node by the `mpirun` of Open MPI, MPICH or Intel MPI. */
import { shellWord } from '../../base/shellWord.ts';
import { clusterWords, type ScriptOptions } from './scriptOptions.ts';

/** Text of a shell script, whose arguments go to `mpirun`: `bash run.sh --hostfile hosts`. */
export function mpiScript(options: ScriptOptions): string {
  const { nodes, program } = options;
  const start = `${program} ${clusterWords(options).map(shellWord).join(' ')}`;
  return `#!/usr/bin/env bash
# One process per node; --workers share its cores. Arguments go to mpirun: bash FILE --hostfile hosts
set -euo pipefail
if mpirun --version 2>/dev/null | grep -q 'Open MPI'; then
  # --enable-recovery: the others continue if a node is lost. --bind-to none: workers use all cores that the node grants.
  exec mpirun --enable-recovery --map-by ppr:1:node --bind-to none -n ${nodes} "$@" ${start}
else
  # Hydra (MPICH, Intel MPI) ends all processes if one dies; the same command resumes.
  exec mpirun -ppn 1 -n ${nodes} "$@" ${start}
fi
`;
}
