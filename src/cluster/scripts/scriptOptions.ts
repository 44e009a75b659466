/** What the job scripts and manifests of `launch cluster --print` are rendered from. */

export const scriptKinds = ['slurm', 'jobset', 'job', 'mpi', 'compose'] as const;
export type ScriptKind = (typeof scriptKinds)[number];

export interface ScriptOptions {
  /** Name of the job, its pods and its Secret: a DNS label (`jobName`). */
  readonly name: string;
  readonly nodes: number;
  /** Run directory, as a path on the nodes or below `/data` of the image. */
  readonly runDir: string;
  /** The options of the run, unquoted, each one word such as `--config=gpt-small`; `--run-dir` is not among them. */
  readonly trainWords: readonly string[];
  /** Shell command that starts this program where it is installed on the nodes: `npx launch`. */
  readonly program: string;
  /** Container image. */
  readonly image: string;
  /** CPUs per node; undefined: all of a node (Slurm), no request (Kubernetes). */
  readonly cpus: number | undefined;
  /** Memory per node, as Kubernetes writes it: `16Gi`; undefined: no limit. */
  readonly memory: string | undefined;
  /** Size of the volume with the run directory: `20Gi`. */
  readonly storage: string;
}

/** Time that a node gets to complete its step and write a checkpoint after it was asked to end, in seconds. */
export const graceSeconds = 120;

/** Failures of a node, other than its eviction, after which it is not started again. */
export const attempts = 10;

/** Folder of the image where the run directory lies, its working directory (`Dockerfile`). */
export const imageFolder = '/data';

/** The words after `launch` that start a node. */
export function clusterWords({ trainWords, runDir }: ScriptOptions): string[] {
  return ['cluster', `--run-dir=${runDir}`, ...trainWords];
}

/**
 * A name as Kubernetes accepts it for a job: small letters, digits and hyphens. Short, because the names of pods, which add to it,
 * have at most 63 characters.
 * @param text the name of a config or run directory
 */
export function jobName(text: string): string {
  const name = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+/, '')
    .slice(0, 40)
    .replace(/-+$/, '');
  return name || 'run';
}

/**
 * Lines of a shell script that start a command in the background, pass signals on to it as USR1, and wait for it. They set `code`.
 * @param variable for the command's process id
 * @param start lines whose last command ends with `&`
 * @param signals such as `TERM USR1`
 */
export function passingSignals(variable: string, start: string, signals: string): string {
  const pid = `"$${variable}"`;
  return `# A signal may come before there is a process id to pass it on to.
early=
trap 'early=1' ${signals}
${start}
${variable}=$!
trap 'kill -USR1 ${pid}' ${signals}
if [ -n "$early" ]; then
  # Time to be able to hear it.
  sleep 1
  kill -USR1 ${pid}
fi
wait ${pid}
code=$?
# Signals interrupt the wait.
while kill -0 ${pid} 2>/dev/null; do
  wait ${pid}
  code=$?
done
# It may have ended after an interrupted wait, whose code is that of the signal; the shell still knows the other one.
if [ "$code" -gt 128 ]; then
  wait ${pid}
  last=$?
  [ "$last" -eq 127 ] || code=$last
fi`;
}
