/** `launch join`: adds workers on this machine to a run that another machine (or process) coordinates. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join as joinPath } from 'node:path';
import type { CommandModule } from 'yargs';
import { availableCores } from '../base/cores.ts';
import { interruptedExitCode, PeerError, UserError } from '../base/errors.ts';
import { countOf } from '../base/numberText.ts';
import { restartsMaxDefault } from '../base/restarts.ts';
import { awaitCoordinator } from '../comm/awaitCoordinator.ts';
import { formatTcpAddress, isEveryInterface, isLoopback, parseTcpAddress } from '../comm/linkAddress.ts';
import type { RingPlace } from '../comm/ringPlace.ts';
import { joinKeyVariable, type RunKeys } from '../comm/runKeys.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { joinKeys } from '../run/runKeyFiles.ts';
import { agentWorkersMin } from '../worker/hostAgent.ts';
import type { RunEnd } from '../worker/runEnd.ts';
import { forkWorkers } from '../worker/spawn.ts';
import { type EndCause, endInOrder, insistHint, isSchedulers } from './endRequests.ts';
import { JoinedWorkers, type LostWorker } from './joinedWorkers.ts';
import { keysInEnvironment } from './keyVariables.ts';
import { numberOption, ringPorts } from './options.ts';
import { print, warn } from './output.ts';
import { goOnWithoutPrinting } from './outputFailures.ts';
import { checkPorts, ringPlaceOf } from './ringOptions.ts';

interface JoinArguments {
  address: string;
  workers: number;
  key?: string | undefined;
  wait: number;
  'ring-ports'?: string | undefined;
  'max-restarts': number;
}

/** Default of `--wait`, in seconds: enough for machines that start together. */
export const waitDefault = 60;
/** A day. */
export const waitSecondsMax = 86_400;

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
      .options(ringPorts)
      .option('wait', {
        type: 'number',
        requiresArg: true,
        default: waitDefault,
        describe: 'Seconds to wait while the host is unknown or nothing answers, also before a restart; 0: one attempt',
      })
      .option('max-restarts', {
        type: 'number',
        requiresArg: true,
        default: restartsMaxDefault,
        describe: 'Maximum number of restarts of these workers',
      })
      .option('plain', {
        type: 'boolean',
        describe: 'Accepted as by launch; join prints plain lines in any case',
      })
      .example(
        '$0 join tcp://192.168.1.10:5555 --key join.key --workers 2',
        'add two workers to the run on that machine',
      )
      .example(
        '$0 join tcp://run-0.run:5555 --wait 600',
        'start before the coordinator does, with the key in the environment',
      ),
  handler: async ({ address, workers, key, wait, 'max-restarts': maxRestarts, 'ring-ports': typedPorts }) => {
    numberOption('workers', workers, { min: 1, max: 1024, whole: true });
    numberOption('wait', wait, { min: 0, max: waitSecondsMax });
    numberOption('max-restarts', maxRestarts, { min: 0, max: 1_000_000, whole: true });
    const ring = ringPlaceOf(typedPorts, true);
    checkPorts(ring, workers);
    const keys = await joinKeys(key, keysInEnvironment().join);
    if (keys === undefined) await checkKeyless(address);
    const limits = { waitMs: 1_000 * wait, maxRestarts };
    const end = await joinRun({ address, workers, cores: availableCores(), keys, ring, ...limits });
    if (end.kind === 'failed') throw runFailed();
    process.exitCode = end.kind === 'left' ? interruptedExitCode : 0;
  },
};

/**
 * @param isHere whether an address is one of this machine alone; it may ask the name server
 * @throws UserError for an address beyond this machine: nothing listens there without keys, so waiting for an answer would be in vain
 */
export async function checkKeyless(address: string, isHere = isLoopback): Promise<void> {
  checkJoinable(address);
  // A name that is unknown for now is hardly one of this machine.
  const reason = await isHere(address).then(
    (here) => (here ? undefined : 'other machines can reach it'),
    () => 'its name is not known here, and only runs on this machine go without a key',
  );
  if (reason === undefined) return;
  throw new UserError(
    `${address} needs the key of its run, because ${reason}: copy join.key from the run directory and name it with --key, or put its contents into ${joinKeyVariable}`,
  );
}

/** @throws UserError for what is not an address that a coordinator can be reached at */
function checkJoinable(address: string): void {
  const { host, port } = parseTcpAddress(address);
  if (port === 0) {
    throw new UserError(`expected the address with the port that the run printed, received ${address}`);
  }
  if (!isEveryInterface(host)) return;
  throw new UserError(
    `expected the address of one machine, received ${address}, which stands for all addresses of a machine that listens. Write the one that the run printed, or ${formatTcpAddress({ host: '127.0.0.1', port })} for a run on this machine`,
  );
}

export interface JoinOptions {
  /** `tcp://HOST:PORT` of the coordinator. */
  readonly address: string;
  /** Number of worker processes. */
  readonly workers: number;
  /** Cores for all of them. */
  readonly cores: number;
  /** The keys of the run, or what is needed for joining it. Absent: nothing is encrypted. */
  readonly keys: RunKeys | undefined;
  /** Where the workers' ring ends may listen. */
  readonly ring: RingPlace;
  /** How long to wait for the coordinator to answer, at the start and before each restart. */
  readonly waitMs: number;
  /** Maximum number of restarts, of all these workers together. */
  readonly maxRestarts: number;
  /** A scheduler signals all nodes of the job: node 0 ends the run, and these workers stay until then. Ctrl-C still removes them. */
  readonly staysForScheduler?: boolean | undefined;
  /** The rank of this machine among the nodes of a job, which may join once; absent if it has none. */
  readonly nodeRank?: number | undefined;
}

/** The end of the workers: they were asked to leave, or the run ended. */
export type JoinEnd = { readonly kind: 'left'; readonly cause: EndCause } | { readonly kind: RunEnd };

const linesOfEnd: Readonly<Record<RunEnd, string>> = {
  complete: 'the run has ended',
  unfinished: 'a scheduler ended the run before its last step',
  interrupted: 'the run was ended before its last step',
  failed: 'the run failed',
};

/** For a command that ends because the run of another machine failed. */
export function runFailed(): PeerError {
  return new PeerError('the run failed, not because of these workers: see the output of its coordinator');
}

/** Folder for a worker's record of its last actions, written if it or the run fails. */
const flightFolder = 'lockstep-flight';

/**
 * Runs workers of a run that is coordinated elsewhere, until the run ends, and prints what happens. Ctrl-C lets them leave.
 * @throws UserError if the address or the keys are wrong, or the run refuses a worker; PeerError if one failed otherwise
 */
export async function joinRun(options: JoinOptions): Promise<JoinEnd> {
  const {
    address,
    workers: count,
    cores,
    keys,
    ring,
    waitMs,
    maxRestarts,
    staysForScheduler = false,
    nodeRank,
  } = options;
  checkJoinable(address);
  const host = hostname()
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .slice(0, 20);
  // Two containers may have the same host name and pid.
  const own = `${host}-${process.pid}-${randomBytes(3).toString('hex')}`;
  const names = Array.from({ length: count }, (_, i) => `remote-${own}-${i}`);
  const coordinator = (signal: AbortSignal) =>
    awaitCoordinator({
      transport: zmqTransport({ keys }),
      address,
      peerId: `probe-${own}-${randomBytes(3).toString('hex')}`,
      waitMs,
      onWait: waitingLine(address, waitMs),
      signal,
    });

  let joined: JoinedWorkers | undefined;
  const left = new AbortController();
  let leaving: EndCause | undefined;
  const ignoreRequests = endInOrder({
    isIgnored: (cause) => {
      const isIgnored = staysForScheduler && joined !== undefined && isSchedulers(cause);
      if (isIgnored) joined?.startNoMore();
      return isIgnored;
    },
    end: (cause) => {
      leaving = cause;
      left.abort();
      if (joined === undefined) return;
      print(`leaving after this step${insistHint(cause, 'to leave at once')}`);
      joined.leave();
    },
    endAtOnce: () => void joined?.stop(),
  });
  // The workers continue without output: the run has its own log.
  goOnWithoutPrinting();
  let losses: readonly LostWorker[] = [];
  try {
    await coordinator(left.signal);
    if (!left.signal.aborted) {
      joined = JoinedWorkers.start({
        names,
        restartsMax: maxRestarts,
        fork: (onExit) =>
          forkWorkers({
            coordinatorAddress: address,
            localWorkers: names,
            cores,
            keys,
            ring,
            throughHost: count >= agentWorkersMin,
            flightFolder,
            leavesOnSignal: !staysForScheduler,
            node: nodeRank === undefined ? undefined : { rank: nodeRank, start: own },
            onExit,
          }),
        coordinator,
        warn,
      });
      print(`${countOf(count, 'worker')} joining ${address}`);
      losses = await joined.ended();
    }
  } catch (error) {
    if (!left.signal.aborted) throw error;
  } finally {
    ignoreRequests();
  }
  if (leaving !== undefined) {
    print('left the run');
    return { kind: 'left', cause: leaving };
  }
  if (losses.length > 0) throw failureOf(losses);
  const kind = joined?.runEnd;
  if (kind === undefined) {
    print('all workers left the run');
    return { kind: 'left', cause: 'SIGTERM' };
  }
  print(linesOfEnd[kind]);
  return { kind };
}

const sayWaitingEveryMs = 10_000;

/** Prints that the coordinator is waited for: at once, when the reason changes, and every ten seconds. @param now in milliseconds */
export function waitingLine(address: string, waitMs: number, now = () => performance.now()): (why: string) => void {
  const endMs = now() + waitMs;
  let printed = '';
  let printedMs = 0;
  return (why) => {
    const isDue = why !== printed || now() - printedMs >= sayWaitingEveryMs;
    if (!isDue) return;
    print(`waiting up to ${Math.max(0, Math.round((endMs - now()) / 1_000))} s for ${address}: ${why}`);
    printed = why;
    printedMs = now();
  };
}

function failureOf(losses: readonly LostWorker[]): Error {
  // A worker that lost a peer is rarely the cause.
  const { exit, reason } = losses.find(({ exit: { failure } }) => failure?.blame !== 'peer') ?? losses[0]!;
  const lines = [`the worker ${exit.description}`];
  if (reason !== undefined) lines.push(`It was not started again: ${reason}`);
  const message = `${lines.join('\n')}${flightOf(exit.worker)}`;
  return exit.failure?.blame === 'user' ? new UserError(message) : new PeerError(message);
}

/** A hint at the worker's record, if it wrote one. */
function flightOf(worker: string): string {
  const path = joinPath(flightFolder, `${worker}.jsonl`);
  return existsSync(path) ? `\nits last actions are in ${path}` : '';
}
