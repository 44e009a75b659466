/**
 * What node 0 leaves in the run directory for the other nodes (coordinator.json) and for the batch script (again). It writes only while
 * it has claimed the directory: a second start there must not disturb the job that runs.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { removeAgain, writeAgain } from './again.ts';
import { type CoordinatorState, removeCoordinatorFile, writeCoordinatorFile } from './coordinatorFile.ts';

/** A node that starts so much later than node 0 still sees the second writing of an end. */
const repeatAfterMs = 5_000;

export interface NodeZeroOptions {
  readonly runDir: string;
  /** The name of this start, if the launcher has one. */
  readonly jobId: string | undefined;
  /** Whether others need the file and cannot tell that it is of this start unless they see it change. */
  readonly needsChange: boolean;
  readonly onWarning: (error: unknown) => void;
  /** For tests. */
  readonly repeatAfterMs?: number;
}

/** How node 0 ended. `unfinished`: the batch script is to start it again. */
export type NodeZeroEnd =
  | Exclude<CoordinatorState, { kind: 'listening' }>
  | { readonly kind: 'unfinished' }
  | { readonly kind: 'interrupted' };

export class NodeZero {
  readonly #options: NodeZeroOptions;
  #isClaimed = false;
  #hasListened = false;
  #telling: Promise<void> = Promise.resolve();

  constructor(options: NodeZeroOptions) {
    this.#options = options;
  }

  /** Whether this process has, or had, the run directory. */
  get isClaimed(): boolean {
    return this.#isClaimed;
  }

  /** The run directory is this process's: removes what an earlier start left. @throws UserError if it cannot be written to */
  async claimed(): Promise<void> {
    this.#isClaimed = true;
    await removeAgain(this.#options.runDir);
    await removeCoordinatorFile(this.#options.runDir);
  }

  /** @param address where the other nodes join */
  listens(address: string): void {
    this.#hasListened = true;
    const { runDir, jobId, onWarning } = this.#options;
    this.#telling = writeCoordinatorFile(runDir, jobId, { kind: 'listening', address }).catch(onWarning);
  }

  /** Tells the nodes that come too late. The run directory is still this process's. */
  async ends(end: NodeZeroEnd): Promise<void> {
    const { runDir, jobId, needsChange, repeatAfterMs: after = repeatAfterMs } = this.#options;
    await this.#telling;
    if (end.kind === 'unfinished') await writeAgain(runDir);
    if (end.kind === 'unfinished' || end.kind === 'interrupted') {
      await removeCoordinatorFile(runDir);
      return;
    }
    await writeCoordinatorFile(runDir, jobId, end);
    if (!needsChange || this.#hasListened) return;
    await sleep(after);
    await writeCoordinatorFile(runDir, jobId, end);
  }
}
