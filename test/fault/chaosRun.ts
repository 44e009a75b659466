/** Does to the workers of a run what `chaosPlan.ts` has drawn, and keeps a record of it. */
import { setTimeout as after } from 'node:timers/promises';
import { type Running, start } from '../e2e/launch.ts';
import type { Mishap } from './chaosPlan.ts';
import { type StepClock, signal, workerPids } from './elasticRun.ts';

/** Fewer workers than this, and another `launch join` comes. */
const workersMin = 3;
const workersMax = 6;
/** Number of this machine's workers that are never asked to leave, because those that have left are not started again. */
const localStayersMin = 2;

interface Worker {
  readonly name: string;
  readonly pid: number;
}

export interface ChaosOptions {
  readonly running: Running;
  readonly clock: StepClock;
  /** What `launch join` needs. */
  readonly joinArgs: readonly string[];
  readonly folder: string;
  readonly localWorkers: number;
  /** One of them. It dies only with all others, and is not asked to leave: so that one lives long. */
  readonly spared: string;
  /** Silence for which a worker is lost. */
  readonly deadlineMs: number;
}

export class Chaos {
  readonly #options: ChaosOptions;
  readonly #startMs = Date.now();
  /** One for every `launch join`, also for those that have ended. */
  readonly guests: Running[] = [];
  /** What was done, with the second and the step. */
  readonly record: string[] = [];
  readonly counts: Record<string, number> = {};
  /** Names of workers that were killed, or asked to leave. */
  readonly #harmed = new Set<string>();
  /** Workers of this machine that were asked to leave. */
  readonly #localLeavers = new Set<string>();
  readonly #leaving = new Map<number, string>();
  readonly #frozen = new Map<number, NodeJS.Timeout>();
  readonly #interrupted = new Set<Running>();

  constructor(options: ChaosOptions) {
    this.#options = options;
  }

  /** Until the last mishap, or the end of the run. */
  async wreak(mishaps: readonly Mishap[]): Promise<void> {
    for (const mishap of mishaps) {
      await after(Math.max(0, this.#startMs + mishap.atMs - Date.now()));
      if (this.#options.running.process.exitCode !== null) return;
      await this.#act(mishap);
    }
  }

  /** Nothing is frozen any longer. Workers that were asked to leave do so, then all guests are asked. Resolves when they are gone. */
  async calm(): Promise<void> {
    this.thaw();
    for (const [pid, name] of this.#leaving) {
      while ((await this.#workers()).some((worker) => worker.pid === pid)) await after(20);
      this.#note('left', `${name} is gone`);
    }
    const interrupted = [...this.#interrupted];
    await Promise.all(interrupted.map(({ finished }) => finished));
    for (const guest of this.#guestsToInterrupt()) this.#interrupt(guest);
    await Promise.all(this.guests.map(({ finished }) => finished));
  }

  /** Guests that have ended though nothing was done to them but freezing. There must be none. */
  get endedUnharmed(): Running[] {
    const isHarmed = ({ process: { pid } }: Running) => [...this.#harmed].some((name) => name.includes(`-${pid}-`));
    return this.guests.filter((guest) => !this.#interrupted.has(guest) && !isHarmed(guest));
  }

  /** After a failed test nothing may stay frozen. */
  thaw(): void {
    for (const pid of this.#frozen.keys()) this.#thaw(pid);
  }

  async #act(mishap: Mishap): Promise<void> {
    const workers = await this.#workers();
    const pick = <T>(from: readonly T[]) => from[Math.floor(mishap.who * from.length)];
    if (mishap.kind === 'join') {
      if (workers.length + mishap.workers <= workersMax) this.#join(mishap.workers);
      return;
    }
    if (workers.length < workersMin) this.#join(1);
    const others = workers.filter(({ name }) => name !== this.#options.spared);
    switch (mishap.kind) {
      case 'kill':
        this.#kill('kill', pick(others));
        break;
      case 'killAll':
        for (const worker of workers) this.#kill('killAll', worker);
        break;
      case 'freeze':
        this.#freeze(pick(mishap.forMs < this.#options.deadlineMs ? workers : others), mishap.forMs);
        break;
      case 'leave':
        this.#leave(pick(others.filter((worker) => this.#mayLeave(worker))));
        break;
      case 'interrupt': {
        const guest = pick(this.#guestsToInterrupt());
        if (guest !== undefined) this.#interrupt(guest);
        break;
      }
      default:
        mishap satisfies never;
    }
  }

  async #workers(): Promise<Worker[]> {
    const living = [this.#options.running, ...this.guests.filter(isLiving)];
    const pids = (await Promise.all(living.map(workerPids))).flatMap((found) => [...found]);
    return pids.map(([name, pid]) => ({ name, pid })).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  #join(count: number): void {
    const { joinArgs, folder } = this.#options;
    this.#note('join', `launch join --workers ${count}`);
    this.guests.push(start(['join', ...joinArgs, '--workers', `${count}`, '--max-restarts', '0'], folder));
  }

  #kill(kind: string, worker: Worker | undefined): void {
    if (worker === undefined) return;
    this.#note(kind, `SIGKILL ${worker.name} (pid ${worker.pid})`);
    this.#harmed.add(worker.name);
    signal(worker.pid, 'SIGKILL');
  }

  #freeze(worker: Worker | undefined, forMs: number): void {
    if (worker === undefined || this.#frozen.has(worker.pid)) return;
    const { name, pid } = worker;
    this.#note('freeze', `SIGSTOP ${name} (pid ${pid}) for ${forMs} ms`);
    signal(pid, 'SIGSTOP');
    const timer = setTimeout(() => this.#thaw(pid), forMs);
    this.#frozen.set(pid, timer);
  }

  #thaw(pid: number): void {
    clearTimeout(this.#frozen.get(pid));
    this.#frozen.delete(pid);
    signal(pid, 'SIGCONT');
  }

  #mayLeave({ name, pid }: Worker): boolean {
    if (this.#leaving.has(pid)) return false;
    return !name.startsWith('local-') || this.#localLeavers.size < this.#options.localWorkers - localStayersMin;
  }

  #leave(worker: Worker | undefined): void {
    if (worker === undefined) return;
    const { name, pid } = worker;
    this.#note('leave', `SIGTERM ${name} (pid ${pid})`);
    if (name.startsWith('local-')) this.#localLeavers.add(name);
    this.#leaving.set(pid, name);
    this.#harmed.add(name);
    signal(pid, 'SIGTERM');
  }

  #guestsToInterrupt(): Running[] {
    return this.guests.filter((guest) => isLiving(guest) && !this.#interrupted.has(guest));
  }

  #interrupt(guest: Running): void {
    this.#note('interrupt', `Ctrl-C on launch join (pid ${guest.process.pid})`);
    this.#interrupted.add(guest);
    guest.process.kill('SIGINT');
  }

  #note(kind: string, what: string): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    const seconds = ((Date.now() - this.#startMs) / 1_000).toFixed(2);
    this.record.push(`${seconds} s, step ${this.#options.clock.newest}: ${what}`);
  }
}

function isLiving({ process: { exitCode, signalCode } }: Running): boolean {
  return exitCode === null && signalCode === null;
}
