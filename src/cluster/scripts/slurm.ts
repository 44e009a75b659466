/**
 * The batch script of Slurm. Written for what Slurm 22.05 was seen to do (docs/decisions/clusters.md): a preempted job that ends with
 * code 0 is never requeued, the code of `srun` hides that of node 0, and the batch shell hears of a preemption only by its steps' end.
 */
import { shellWord } from '../../base/shellWord.ts';
import { clusterWords, graceSeconds, passingSignals, type ScriptOptions } from './scriptOptions.ts';

/** Text of a script for `sbatch`, whose command line overrides every `#SBATCH` line. */
export function slurmScript(options: ScriptOptions): string {
  const { name, nodes, runDir, program, cpus, memory } = options;
  const again = shellWord(`${runDir}/again`);
  const size = cpus === undefined ? ['#SBATCH --exclusive'] : [`#SBATCH --cpus-per-task=${cpus}`];
  if (memory !== undefined) size.push(`#SBATCH --mem=${slurmMemory(memory)}`);
  const srun = ['srun', '--no-kill', '--kill-on-bad-exit=0', '--cpu-bind=none'];
  // Since 22.05 srun does not take this from the job.
  if (cpus !== undefined) srun.push(`--cpus-per-task=${cpus}`);
  const command = `${srun.join(' ')} ${program} ${clusterWords(options).map(shellWord).join(' ')} &`;
  return `#!/usr/bin/env bash
#SBATCH --job-name=${name}
#SBATCH --nodes=${nodes}
#SBATCH --ntasks-per-node=1
${size.join('\n')}
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
#SBATCH --output=${name}-%j.log
#SBATCH --signal=B:USR1@${graceSeconds}
# One process per node; --workers share its cores. Without a node the others continue (--no-kill).
rm -f ${again}
# Slurm sends USR1 before the time limit; srun passes it on. The run writes a checkpoint and the file "again", and ends.
${passingSignals('step', command, 'USR1')}
# The code of srun is the highest of all nodes, and a lost node hides 85 (not finished): the file decides.
if [ -e ${again} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
`;
}

/** Slurm writes `16G` for 16 GiB. */
function slurmMemory(memory: string): string {
  return memory.replace(/i$/, '');
}
