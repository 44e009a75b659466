/** A real Slurm of four nodes, n1 to n4, in namespaces of the test (startSlurm.sh). Needs root and the packages of `packages`. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { signal } from '../fault/elasticRun.ts';

const run = promisify(execFile);

/** Programs, each with its Debian package. */
const packages = {
  slurmctld: 'slurmctld',
  slurmd: 'slurmd',
  sbatch: 'slurm-client',
  munged: 'munge',
  nsenter: 'util-linux',
  ip: 'iproute2',
};

/** What `scontrol show job` says of a job, as it writes it: `RUNNING`, `1`. */
export interface JobFacts {
  readonly state: string;
  readonly restarts: number;
  readonly nodes: string;
  readonly exitCode: string;
}

export class Slurm {
  readonly #dir: string;
  readonly #child: ChildProcess;
  /** The first process of the namespaces, as the host numbers it. */
  readonly #init: number;

  private constructor(dir: string, child: ChildProcess, init: number) {
    this.#dir = dir;
    this.#child = child;
    this.#init = init;
  }

  /** Why there can be none here; undefined if there can. */
  static async obstacle(): Promise<string | undefined> {
    if (process.platform !== 'linux') return `needs Linux, this is ${process.platform}`;
    if (process.getuid?.() !== 0) return 'needs root';
    for (const [program, name] of Object.entries(packages)) {
      const isMissing = await run('sh', ['-c', `command -v ${program}`]).then(
        () => false,
        () => true,
      );
      if (isMissing) return `needs ${program}, of the Debian package ${name}`;
    }
    return run('unshare', ['--net', '--pid', '--mount', '--uts', '--fork', 'true']).then(
      () => undefined,
      (error: Error) => `cannot make namespaces: ${error.message.trim()}`,
    );
  }

  /** @param dir for all its files */
  static async start(dir: string): Promise<Slurm> {
    const script = join(import.meta.dirname, 'startSlurm.sh');
    const namespaces = ['--net', '--pid', '--mount', '--uts', '--fork', '--kill-child'];
    // A test process that is killed takes them with it: unshare ignores SIGTERM while its child lives.
    const words = ['--pdeathsig', 'KILL', 'unshare', ...namespaces, 'bash', script, dir];
    const child = spawn('setpriv', words, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    await new Promise<void>((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (chunk: string) => {
          output += chunk;
          if (/^ready$/m.test(output)) resolve();
        });
      }
      child.on('close', () => reject(new Error(`Slurm did not start: ${output}`)));
    });
    const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
    return new Slurm(dir, child, Number(children.trim()));
  }

  /** Runs a command in the namespaces. @returns its standard output */
  async run(words: readonly string[], cwd = this.#dir): Promise<string> {
    const env = { ...process.env, SLURM_CONF: join(this.#dir, 'slurm.conf') };
    // The namespaces' own root and working folder are those of the host.
    const enter = ['--target', String(this.#init), '--net', '--pid', '--mount', '--uts', `--wd=${cwd}`];
    return (await run('nsenter', [...enter, ...words], { env })).stdout;
  }

  /** @returns the number of the job */
  async submit(words: readonly string[], cwd: string): Promise<number> {
    return Number((await this.run(['sbatch', '--parsable', ...words], cwd)).trim());
  }

  async job(id: number): Promise<JobFacts> {
    const text = await this.run(['scontrol', 'show', 'job', String(id)]);
    const of = (name: string) => new RegExp(`\\b${name}=(\\S+)`).exec(text)?.[1] ?? '';
    return { state: of('JobState'), restarts: Number(of('Restarts')), nodes: of('NodeList'), exitCode: of('ExitCode') };
  }

  /** Lets a requeued job begin now instead of after two minutes. Slurm may set this time only when all of the job has ended. */
  async beginNow(id: number): Promise<void> {
    const deadline = Date.now() + 90_000;
    do {
      await this.run(['scontrol', 'update', `jobid=${id}`, 'starttime=now']).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 500));
      if (Date.now() > deadline) throw new Error(`job ${id} does not begin:\n${await this.report()}`);
    } while (/PENDING|COMPLETING/.test((await this.job(id)).state));
  }

  /** Kills a node's slurmd and all that it started: the node is gone at once, and Slurm does not know it yet. */
  async killNode(node: string): Promise<void> {
    const pids = await this.#processesOf(node);
    for (const pid of pids) signal(pid, 'SIGKILL');
  }

  /** Tells Slurm what it finds out after SlurmdTimeout, which must be long here: on a busy machine a node that lives may be late. */
  async markDown(node: string): Promise<void> {
    await this.run(['scontrol', 'update', `nodename=${node}`, 'state=down', 'reason=killed']);
  }

  /** Starts the slurmd of a node that was killed. Resolves when Slurm gives the node work again. @throws Error with Slurm's report if it does not */
  async restartNode(node: string): Promise<void> {
    await this.run(['slurmd', '-N', node]);
    const deadline = Date.now() + 60_000;
    while ((await this.run(['sinfo', '--noheader', `--nodes=${node}`, '--format=%T'])).split('\n')[0] !== 'idle') {
      if (Date.now() > deadline) throw new Error(`${node} does not come back:\n${await this.report()}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** For a test that failed: the jobs, the nodes with why they take none, and the end of each log of Slurm. */
  async report(): Promise<string> {
    const commands = [['squeue'], ['sinfo', '--Node', '--format=%N %T %E']];
    const states = await Promise.all(commands.map((words) => this.run(words).catch(String)));
    const logs = join(this.#dir, 'log');
    const files = (await readdir(logs)).filter((name) => name.startsWith('slurm'));
    const ends = files.map(async (name) => `${name}:\n${(await readFile(join(logs, name), 'utf8')).slice(-4000)}`);
    return [...states, ...(await Promise.all(ends))].join('\n');
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    // The first process of a namespace takes all others with it, and unshare ends after it.
    signal(this.#init, 'SIGKILL');
    await ended;
  }

  /** As the host numbers them: the slurmd, the tasks, and the slurmstepd of each task, which does not name its node. */
  async #processesOf(node: string): Promise<Set<number>> {
    const found = new Set<number>();
    const configuration = `SLURM_CONF=${join(this.#dir, 'slurm.conf')}`;
    for (const name of await readdir('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const [environment, words, status] = (await Promise.all(
        ['environ', 'cmdline', 'status'].map((file) => readFile(`/proc/${name}/${file}`, 'utf8').catch(() => '')),
      )) as [string, string, string];
      if (!environment.split('\0').includes(configuration)) continue;
      const isSlurmd = words.startsWith(`slurmd\0-N\0${node}\0`);
      const isTask = environment.split('\0').includes(`SLURMD_NODENAME=${node}`);
      if (!isSlurmd && !isTask) continue;
      found.add(Number(name));
      const parent = Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]);
      const parentWords = await readFile(`/proc/${parent}/cmdline`, 'utf8').catch(() => '');
      if (parentWords.startsWith('slurmstepd')) found.add(parent);
    }
    return found;
  }
}
