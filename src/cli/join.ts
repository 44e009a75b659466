/** `launch join`: adds workers on this machine to a run that another machine (or process) coordinates. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join as joinPath } from 'node:path';
import type { CommandModule } from 'yargs';
import { availableCores } from '../base/cores.ts';
import { interruptedExitCode, PeerError, UserError } from '../base/errors.ts';
import { parseTcpAddress } from '../comm/linkAddress.ts';
import type { RunKeys } from '../comm/runKeys.ts';
import { joinKeys, joinKeyVariable } from '../run/runKeyFiles.ts';
import { agentWorkersMin } from '../worker/hostAgent.ts';
import { forkWorkers, type WorkerExit } from '../worker/spawn.ts';
import { type EndCause, endInOrder, isSchedulers } from './endRequests.ts';
import { numberOption } from './options.ts';
import { print } from './output.ts';
import { goOnWithoutPrinting } from './outputFailures.ts';

interface JoinArguments {
  address: string;
  workers: number;
  key?: string | undefined;
}

export const joinCommand: CommandModule<object, JoinArguments> = {
  builder: (yargs) =>
    yargs
      .positional('address', {
        type: 'string',
        demandOption: true,
        describe: 'Address that the run printed: tcp://HOST:PORT',
      })
      .option('workers', {
        alias: 'w',
        type: 'number',
        requiresArg: true,
        default: 1,
        describe: 'Worker processes to add',
      })
      .option('key', {
        alias: 'k',
        type: 'string',
        requiresArg: true,
        describe: `Copy of join.key from the run directory [default: contents of ${joinKeyVariable}]`,
      })
      .example(
        '$0 join tcp://192.168.1.10:5555 --key join.key --workers 2',
        'add two workers to the run on that machine',
      ),
  handler: async ({ address, workers: count, key }) => {
    numberOption('workers', count, { min: 1, max: 1024, whole: true });
    if (parseTcpAddress(address).port === 0) {
      throw new UserError(`expected the address with the port that the run printed, received ${address}`);
    }
    const keys = await joinKeys(key, process.env[joinKeyVariable]);
    const end = await joinRun({ address, workers: count, cores: availableCores(), keys });
    process.exitCode = end.kind === 'left' ? interruptedExitCode : 0;
  },
};

/** Folder for a worker's record of its last actions, written if it or the run fails. */
const flightFolder = 'lockstep-flight';

export interface JoinOptions {
  readonly address: string;
  /** Number of workers to add. */
  readonly workers: number;
  /** Cores for all of them. */
  readonly cores: number;
  readonly keys: RunKeys | undefined;
  /** A scheduler signals all nodes of the job: node 0 ends the run, and these workers stay until then. Ctrl-C still removes them. */
  readonly staysForScheduler?: boolean | undefined;
}

/** The end of the workers: they were asked to leave, or the run ended, perhaps before its last step because it was asked to. */
export type JoinEnd = { readonly kind: 'left'; readonly cause: EndCause } | { readonly kind: 'ended' | 'unfinished' };

/** Runs workers until the run ends. @throws PeerError, UserError if a worker failed */
export async function joinRun(options: JoinOptions): Promise<JoinEnd> {
  const { address, workers: count, cores, keys, staysForScheduler = false } = options;
  const host = hostname()
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .slice(0, 20);
  // Two containers may have the same host name and pid.
  const nonce = randomBytes(3).toString('hex');
  const names = Array.from({ length: count }, (_, i) => `remote-${host}-${process.pid}-${nonce}-${i}`);
  const failures: WorkerExit[] = [];
  let isUnfinished = false;
  const workers = forkWorkers({
    coordinatorAddress: address,
    localWorkers: names,
    cores,
    keys,
    throughHost: count >= agentWorkersMin,
    flightFolder,
    leavesOnSignal: !staysForScheduler,
    onExit: (exit) => {
      if (!exit.clean) failures.push(exit);
      isUnfinished ||= exit.isUnfinished === true;
    },
  });
  for (const name of names) workers.start(name);
  let leaving: EndCause | undefined;
  const ignoreRequests = endInOrder({
    isIgnored: (cause) => staysForScheduler && isSchedulers(cause),
    end: (cause) => {
      leaving = cause;
      print('leaving after this step; press Ctrl-C again to leave at once');
      workers.leave();
    },
    endAtOnce: () => void workers.stop(0),
  });
  // The workers continue without output: the run has its own log.
  goOnWithoutPrinting();
  print(`${count} worker${count === 1 ? '' : 's'} joining ${address}`);
  await workers.ended();
  ignoreRequests();
  if (leaving !== undefined) {
    print('left the run');
    return { kind: 'left', cause: leaving };
  }
  // A worker that lost a peer is rarely the cause.
  const exit = failures.find(({ failure }) => failure?.blame !== 'peer') ?? failures[0];
  if (exit !== undefined) {
    const message = `the worker ${exit.description}${flightOf(exit.worker)}`;
    throw exit.failure?.blame === 'user' ? new UserError(message) : new PeerError(message);
  }
  print(isUnfinished ? 'the run was asked to end before its last step' : 'the run has ended');
  return { kind: isUnfinished ? 'unfinished' : 'ended' };
}

/** A hint at the worker's record, if it wrote one. */
function flightOf(worker: string): string {
  const path = joinPath(flightFolder, `${worker}.jsonl`);
  return existsSync(path) ? `\nits last actions are in ${path}` : '';
}
