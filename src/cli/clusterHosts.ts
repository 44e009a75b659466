/** `launch cluster --hosts a:2,b:2`: this machine, the first host, trains, and `ssh` starts workers on the others. */
import { readFile } from 'node:fs/promises';
import type { Options } from 'yargs';
import { InvariantError, messageOf, UserError } from '../base/errors.ts';
import { expandHome } from '../base/userPath.ts';
import { type Host, nameOfThisMachine, parseHostFile, parseHosts } from '../cluster/hosts.ts';
import type { Placement } from '../cluster/placement.ts';
import { type SshWorkers, startSshWorkers } from '../cluster/sshWorkers.ts';
import type { RunView, StartedRun } from '../run/runObserver.ts';
import { coordinate, type JobNode } from './clusterNode.ts';
import { warn } from './output.ts';
import { checkPorts } from './ringOptions.ts';
import type { TrainArguments } from './trainOptions.ts';

/** A longer file is not a list of hosts. */
const hostFileBytesMax = 1_000_000;

/** Time in which the workers of other machines end after the run. */
const closeMs = 30_000;

export const hostOptions = {
  hosts: {
    type: 'string',
    requiresArg: true,
    describe: 'Start workers by ssh: a:2,b:2, where a is this machine',
  },
  hostfile: {
    type: 'string',
    requiresArg: true,
    describe: 'File with such hosts, one per line: a:2, or a slots=2',
  },
  'remote-dir': {
    type: 'string',
    requiresArg: true,
    describe: 'Folder with Lockstep on the other hosts [default: this one]',
  },
} as const satisfies Record<string, Options>;

export interface HostArguments {
  readonly hosts?: string | undefined;
  readonly hostfile?: string | undefined;
  readonly remoteDir?: string | undefined;
}

/** What all hosts have in common. */
type SharedNode = Pick<JobNode, 'folder' | 'cores' | 'waitSeconds' | 'ring' | 'maxRestarts'>;

/**
 * Trains until the run ends, with the workers of all hosts. Before the first step a host that fails ends the run, unless `minWorkers` are
 * left without it; later the others continue.
 * @param args the options of the run; 1 worker and a minimum of 1 are what nobody typed
 * @returns the exit code
 * @throws UserError if the hosts make no sense, or if one of them fails before the first step
 */
export async function trainOnHosts(
  args: TrainArguments,
  resume: 'auto' | 'never',
  { hosts, hostfile, remoteDir, joinWords, ...node }: HostArguments & SharedNode & Pick<RemoteOptions, 'joinWords'>,
): Promise<number> {
  const [here, ...others] = await hostsOf({ hosts, hostfile });
  if (here === undefined) throw new InvariantError('No host.');
  if (args.workers !== 1)
    throw new UserError('--hosts and --hostfile give the number of workers of each host: omit --workers');
  for (const { host, workers } of [here, ...others]) checkPorts(node.ring, workers, host);
  const name = await nameOfThisMachine(here);
  const startWorkers = [here, ...others].reduce((sum, { workers }) => sum + workers, 0);
  const placement: Placement = {
    source: 'options',
    nodeRank: 0,
    nodeCount: 1 + others.length,
    // Port 0: any that is free.
    coordinator: name === undefined ? undefined : { host: name, port: 0 },
    localCpus: undefined,
    jobId: undefined,
  };
  const remote = new RemoteWorkers(others, {
    folder: remoteDir ?? process.cwd(),
    joinWords,
    joinKeyPath: node.folder.joinKeyPath,
    minWorkers: args.minWorkers > 1 ? args.minWorkers : startWorkers,
    total: startWorkers,
  });
  try {
    const code = await coordinate({ ...args, workers: here.workers }, resume, {
      ...{ ...node, placement, workers: here.workers, startWorkers },
      started: (run, view, address) => remote.start(run, view, address),
    });
    if (remote.failure !== undefined) throw remote.failure;
    return code;
  } finally {
    await remote.close();
  }
}

async function hostsOf({ hosts, hostfile }: HostArguments): Promise<Host[]> {
  if (hosts !== undefined) return parseHosts(hosts);
  const path = expandHome(hostfile ?? '');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new UserError(`--hostfile: cannot read ${path}: ${messageOf(error)}`);
  }
  if (text.length > hostFileBytesMax) throw new UserError(`--hostfile: ${path} is too large for a list of hosts`);
  return parseHostFile(text, path);
}

interface RemoteOptions {
  /** Folder with Lockstep on the other machines. */
  readonly folder: string;
  /** Options of their `launch join`, each one word. */
  readonly joinWords: readonly string[];
  readonly joinKeyPath: string;
  /** Number of workers without which the run cannot start. */
  readonly minWorkers: number;
  /** Number of workers on all hosts. */
  readonly total: number;
}

/** The workers of the other hosts, from the start of the run to its end. */
class RemoteWorkers {
  readonly #hosts: readonly Host[];
  readonly #options: RemoteOptions;
  #left: number;
  #starting: Promise<SshWorkers> | undefined;
  /** Why the run ended before its first step. */
  failure: UserError | undefined;

  constructor(hosts: readonly Host[], options: RemoteOptions) {
    this.#hosts = hosts;
    this.#options = options;
    this.#left = options.total;
  }

  start(run: StartedRun, view: RunView, address: string): void {
    this.#starting = this.#start(run, view, address);
    this.#starting.catch((error: unknown) => this.#fail(run, messageOf(error)));
  }

  async #start(run: StartedRun, view: RunView, address: string): Promise<SshWorkers> {
    const { folder, joinWords, joinKeyPath } = this.#options;
    return startSshWorkers({
      hosts: this.#hosts,
      address,
      joinKey: await readFile(joinKeyPath, 'utf8'),
      joinWords,
      folder,
      onEnd: (host, problem) => {
        if (problem !== undefined) this.#lost(host, problem, run, view);
      },
    });
  }

  #lost({ workers }: Host, problem: string, run: StartedRun, view: RunView): void {
    const { stage } = view.state() ?? {};
    // It says what this machine says itself.
    if (stage === 'failed' || stage === 'finished') return;
    this.#left -= workers;
    const hasSteps = (view.state()?.appliedStep ?? view.startStep) > view.startStep;
    if (!hasSteps && this.#left < this.#options.minWorkers) {
      this.#fail(run, problem);
      return;
    }
    warn(problem);
    run.note(problem);
  }

  #fail(run: StartedRun, problem: string): void {
    this.failure ??= new UserError(problem);
    run.stop(problem);
  }

  async close(): Promise<void> {
    const workers = await this.#starting?.catch(() => undefined);
    await workers?.close(closeMs);
  }
}
