/** `launch cluster --hosts a:2,b:2`: this machine, the first host, trains, and `ssh` starts workers on the others. */
import { readFile } from 'node:fs/promises';
import type { Options } from 'yargs';
import { messageOf, UserError } from '../base/errors.ts';
import { expandHome } from '../base/userPath.ts';
import { type Host, nameOfThisMachine, parseHostFile, parseHosts } from '../cluster/hosts.ts';
import { type SshWorkers, startSshWorkers } from '../cluster/sshWorkers.ts';
import { joinAddresses } from '../comm/linkAddress.ts';
import { warn } from './output.ts';
import { runTrain, type StartedTraining } from './train.ts';
import type { TrainArguments } from './trainOptions.ts';

/** Longer files are no lists of hosts. */
const hostFileBytesMax = 1_000_000;

/** Time in which the workers of other machines end after the run. */
const closeMs = 30_000;

export const hostOptions = {
  hosts: {
    type: 'string',
    requiresArg: true,
    describe: 'Machines and workers: a:2,b:2. a is this machine; ssh starts the others',
  },
  hostfile: {
    type: 'string',
    requiresArg: true,
    describe: 'File with a host per line, such as a:2 or a slots=2, instead of --hosts',
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

/**
 * Trains until the run ends and sets the exit code. The run starts when all workers are there, unless `minWorkers` says otherwise.
 * @param minWorkers as typed
 * @throws UserError if the hosts make no sense, or one of them cannot take part and the run cannot start without it
 */
export async function trainOnHosts(
  args: TrainArguments,
  options: HostArguments,
  minWorkers: number | undefined,
): Promise<void> {
  const [here, ...others] = await hostsOf(options);
  if (here === undefined) return;
  if (args.workers !== undefined || !args.encrypt) {
    throw new UserError(
      '--hosts gives the number of workers of each host, and encrypts: omit --workers and --no-encrypt',
    );
  }
  const name = await nameOfThisMachine(here);
  const total = [here, ...others].reduce((sum, { workers }) => sum + workers, 0);
  const least = minWorkers ?? total;
  const remote = new RemoteWorkers(others, options.remoteDir ?? process.cwd(), { least, total });
  const advertise =
    args.advertise ?? (name === undefined ? undefined : `tcp://${name.includes(':') ? `[${name}]` : name}:0`);
  const listen = args.listen ?? (others.length === 0 ? undefined : 'tcp://*:0');
  try {
    await runTrain({ ...args, workers: here.workers, minWorkers: least, listen, advertise }, (training) =>
      remote.start(training),
    );
  } finally {
    await remote.close();
  }
  if (remote.failure !== undefined) throw remote.failure;
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

/** The workers of the other hosts, from the start of the run to its end. */
class RemoteWorkers {
  readonly #hosts: readonly Host[];
  readonly #folder: string;
  readonly #least: number;
  #left: number;
  #starting: Promise<SshWorkers> | undefined;
  /** Why the run ended before its first step. */
  failure: UserError | undefined;

  constructor(hosts: readonly Host[], folder: string, { least, total }: { least: number; total: number }) {
    this.#hosts = hosts;
    this.#folder = folder;
    this.#least = least;
    this.#left = total;
  }

  start(training: StartedTraining): void {
    this.#starting = this.#start(training);
    this.#starting.catch((error: unknown) => {
      this.failure = error instanceof UserError ? error : new UserError(messageOf(error));
      training.stop(messageOf(error));
    });
  }

  async #start(training: StartedTraining): Promise<SshWorkers> {
    const [address = training.address] = joinAddresses(training.address, training.advertise);
    return startSshWorkers({
      hosts: this.#hosts,
      address,
      joinKey: await readFile(training.folder.joinKeyPath, 'utf8'),
      folder: this.#folder,
      onEnd: (host, problem) => {
        if (problem !== undefined) this.#lost(host, problem, training);
      },
    });
  }

  #lost({ workers }: Host, problem: string, { view, stop, note }: StartedTraining): void {
    this.#left -= workers;
    const hasSteps = (view.state()?.appliedStep ?? view.startStep) > view.startStep;
    if (hasSteps || this.#left >= this.#least) {
      warn(problem);
      note(problem);
      return;
    }
    this.failure ??= new UserError(problem);
    stop(problem);
  }

  async close(): Promise<void> {
    const workers = await this.#starting?.catch(() => undefined);
    await workers?.close(closeMs);
  }
}
