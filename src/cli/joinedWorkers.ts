/**
 * The workers of one `launch join`: starts them once a coordinator answers, and starts those that die again, by the policy that
 * `launch` has for its own. What happens to each is the run's concern, not this one's: the run continues without them.
 */
import { messageOf } from '../base/errors.ts';
import { isWorthRestart, nextRestart } from '../base/restarts.ts';
import { graver, type RunEnd } from '../worker/runEnd.ts';
import type { LocalWorkers, WorkerExit } from '../worker/spawn.ts';

export interface JoinedWorkersOptions {
  readonly names: readonly string[];
  /** Maximum number of restarts, of all workers together. */
  readonly restartsMax: number;
  readonly fork: (onExit: (exit: WorkerExit) => void) => LocalWorkers;
  /** Resolves when a coordinator answers; rejects when none does for too long, or the signal aborts. */
  readonly coordinator: (signal: AbortSignal) => Promise<void>;
  readonly warn: (line: string) => void;
}

/** The end of a worker that was not, or could not be, started again. */
export interface LostWorker {
  readonly exit: WorkerExit;
  /** Why not, if it was to be started again. */
  readonly reason?: string;
}

export class JoinedWorkers {
  readonly #options: JoinedWorkersOptions;
  readonly #workers: LocalWorkers;
  /** Running, or to be started again. */
  readonly #alive = new Set<string>();
  readonly #lost = new Map<string, LostWorker>();
  /** Those to be started again. */
  readonly #pending = new Map<string, NodeJS.Timeout>();
  /** Aborted when none is started again any more. */
  readonly #end = new AbortController();
  #restarts = 0;
  #runEnd: RunEnd | undefined;
  #settle: () => void = () => {};
  readonly #ended = new Promise<void>((resolve) => {
    this.#settle = resolve;
  });

  private constructor(options: JoinedWorkersOptions) {
    this.#options = options;
    this.#workers = options.fork((exit) => this.#exited(exit));
  }

  /** Starts all. */
  static start(options: JoinedWorkersOptions): JoinedWorkers {
    const joined = new JoinedWorkers(options);
    for (const name of options.names) joined.#start(name);
    return joined;
  }

  /** Asks all to leave the run at the next step boundary; none is started again. */
  leave(): void {
    this.startNoMore();
    this.#workers.leave();
  }

  /** Ends all. */
  async stop(): Promise<void> {
    this.startNoMore();
    await this.#workers.stop(0);
  }

  /** Resolves when all have ended and none will be started again. @returns those that ended before the run did */
  async ended(): Promise<readonly LostWorker[]> {
    await this.#ended;
    return [...this.#lost.values()];
  }

  /** The gravest end of the run that a worker told; undefined if none did, as when all were asked to leave. */
  get runEnd(): RunEnd | undefined {
    return this.#runEnd;
  }

  #start(name: string): void {
    this.#alive.add(name);
    this.#lost.delete(name);
    this.#workers.start(name);
  }

  #exited(exit: WorkerExit): void {
    const { worker, clean, hasLeft = false, failure, description } = exit;
    if (!hasLeft) this.#runEnd = graver(this.#runEnd, exit.runEnd);
    // The run has ended, for the others too.
    if (clean && !hasLeft) this.startNoMore();
    const restart =
      !this.#end.signal.aborted && isWorthRestart({ clean, blame: failure?.blame })
        ? nextRestart(this.#restarts, this.#options.restartsMax)
        : undefined;
    if (restart === undefined) {
      this.#gone(worker, clean ? undefined : { exit });
      return;
    }
    this.#restarts++;
    this.#options.warn(`worker ${worker} ${description}; it is ${restart.announcement}`);
    this.#pending.set(
      worker,
      setTimeout(() => void this.#startAgain(exit), restart.afterMs),
    );
  }

  async #startAgain(exit: WorkerExit): Promise<void> {
    const { worker } = exit;
    const failure = await this.#options.coordinator(this.#end.signal).then(() => undefined, messageOf);
    if (!this.#pending.delete(worker)) return;
    if (failure === undefined) this.#start(worker);
    else this.#gone(worker, { exit, reason: failure });
  }

  /** From now on none is started again. */
  startNoMore(): void {
    this.#end.abort();
    for (const [worker, timer] of this.#pending) {
      clearTimeout(timer);
      this.#pending.delete(worker);
      this.#gone(worker, undefined);
    }
  }

  #gone(worker: string, loss: LostWorker | undefined): void {
    if (loss !== undefined) this.#lost.set(worker, loss);
    this.#alive.delete(worker);
    if (this.#alive.size === 0) this.#settle();
  }
}
