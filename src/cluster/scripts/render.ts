/** The job script or manifest of each kind. */
import { composeFile } from './compose.ts';
import { indexedJobManifest } from './indexedJob.ts';
import { jobSetManifest } from './jobSet.ts';
import { mpiScript } from './mpi.ts';
import type { ScriptKind, ScriptOptions } from './scriptOptions.ts';
import { slurmScript } from './slurm.ts';

const renderers: Readonly<Record<ScriptKind, (options: ScriptOptions) => string>> = {
  slurm: slurmScript,
  jobset: jobSetManifest,
  job: indexedJobManifest,
  mpi: mpiScript,
  compose: composeFile,
};

/** Text of the file, with a line feed at its end. */
export function renderScript(kind: ScriptKind, options: ScriptOptions): string {
  return renderers[kind](options);
}
