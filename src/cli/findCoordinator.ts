/** How a node of `launch cluster` other than node 0 finds it: where it listens, and the key to join it. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, PeerError } from '../base/errors.ts';
import { shellWord } from '../base/shellWord.ts';
import { shortPath } from '../base/shortPath.ts';
import { CoordinatorFileReader } from '../cluster/coordinatorFile.ts';
import type { Placement } from '../cluster/placement.ts';
import { awaitCoordinator } from '../comm/awaitCoordinator.ts';
import { formatTcpAddress, UnreachableError } from '../comm/linkAddress.ts';
import { joinKeyVariable, type RunKeys } from '../comm/runKeys.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import type { RunFolder } from '../run/runFolder.ts';
import { joinKeys } from '../run/runKeyFiles.ts';
import { print } from './output.ts';

/** How often a node looks for what node 0 writes. */
const pollMs = 250;

export interface Found {
  readonly address: string;
  readonly keys: RunKeys;
  /** Time that is left for connecting, in seconds. */
  readonly waitSeconds: number;
}

export interface FindOptions {
  readonly placement: Pick<Placement, 'coordinator' | 'jobId'>;
  readonly folder: RunFolder;
  /** Time limit, in seconds. */
  readonly waitSeconds: number;
  /** The key, if it was given to this node; absent: that of the run directory. */
  readonly given: RunKeys | undefined;
  /** Resolves if a coordinator answers there, in one attempt. For tests. @throws UnreachableError if nothing answers */
  readonly probe?: ((address: string, keys: RunKeys) => Promise<void>) | undefined;
}

/**
 * The file that node 0 writes is asked where it is needed: for the address, or to know that a key in the run directory is the one of this
 * start. Without a name of this start and with a known address, a key suffices. An address from the file counts once a coordinator answers
 * there: the file may be of an earlier start until node 0 replaces it.
 * @throws PeerError if node 0 failed, has not written them in time, or does not answer
 */
export async function findCoordinator(options: FindOptions): Promise<Found | 'ended'> {
  const { placement, folder, waitSeconds, given, probe = probeOnce } = options;
  const { coordinator, jobId } = placement;
  const needsFile = coordinator === undefined || (given === undefined && jobId !== undefined);
  const reader = new CoordinatorFileReader(folder.path, jobId);
  const startMs = performance.now();
  const leftSeconds = () => Math.max(0, waitSeconds - (performance.now() - startMs) / 1_000);
  const printWait = eachOnce();
  let problem: PeerError | undefined;
  for (;;) {
    const read = needsFile ? await reader.read() : undefined;
    if (read?.state.kind === 'ended') return 'ended';
    if (read?.state.kind === 'failed') throw new PeerError(`node 0 failed: ${read.state.message}`);
    if (!needsFile || read !== undefined) {
      const keys =
        given ?? (existsSync(folder.joinKeyPath) ? await joinKeys(folder.joinKeyPath, undefined) : undefined);
      if (keys !== undefined && coordinator !== undefined) {
        return { address: formatTcpAddress(coordinator), keys, waitSeconds: leftSeconds() };
      }
      if (keys !== undefined && read !== undefined) {
        const { address } = read.state;
        try {
          await probe(address, keys);
          return { address, keys, waitSeconds: leftSeconds() };
        } catch (error) {
          // At an old address something else may listen by now.
          if (read.isCertain && !(error instanceof UnreachableError)) throw error;
          problem = error instanceof PeerError ? error : new PeerError(messageOf(error), { cause: error });
          printWait(`waiting for node 0, which does not answer at ${address}`);
        }
      }
    }
    if (leftSeconds() === 0) throw problem ?? notFound(folder, { waitSeconds, needsFile });
    if (problem === undefined) printWait(`waiting for node 0 to write ${shortPath(folder.path)}`);
    await sleep(pollMs);
  }
}

async function probeOnce(address: string, keys: RunKeys): Promise<void> {
  const peerId = `probe-${process.pid}-${randomBytes(6).toString('hex')}`;
  await awaitCoordinator({ transport: zmqTransport({ keys }), address, peerId, waitMs: 0, onWait: () => {} });
}

/** Prints a line unless it was the last one. */
function eachOnce(): (line: string) => void {
  let last = '';
  return (line) => {
    if (line !== last) print(line);
    last = line;
  };
}

function notFound(
  folder: RunFolder,
  { waitSeconds, needsFile }: { readonly waitSeconds: number; readonly needsFile: boolean },
): PeerError {
  const file = needsFile ? 'coordinator.json' : 'join.key';
  return new PeerError(
    `node 0 has not written ${shellWord(shortPath(folder.path))}/${file} within ${waitSeconds} s (--wait). ` +
      `See its output; if the nodes share no disk, set ${joinKeyVariable} and --coordinator`,
  );
}
