/** What processes hold, from /proc: open files and memory, now and over time. */
import { readdir, readFile } from 'node:fs/promises';

export interface Usage {
  readonly atMs: number;
  /** Open file descriptors: files, sockets, pipes. */
  readonly fds: number;
  /** Resident memory. */
  readonly rssMiB: number;
}

/** Undefined once the process has ended. */
export async function usageOf(pid: number): Promise<Usage | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const rssKiB = /^VmRSS:\s+(\d+)/m.exec(status)?.[1];
    if (rssKiB === undefined) return undefined; // a zombie
    return { atMs: Date.now(), fds: (await readdir(`/proc/${pid}/fd`)).length, rssMiB: Number(rssKiB) / 1_024 };
  } catch {
    return undefined;
  }
}

/** Looks at processes twice a second, until it is stopped. */
export class UsageLog {
  readonly #samples = new Map<number, Usage[]>();
  readonly #pids: () => Promise<readonly number[]>;
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> = Promise.resolve();

  constructor(pids: () => Promise<readonly number[]>) {
    this.#pids = pids;
    this.#timer = setInterval(() => {
      this.#looking = this.#looking.then(() => this.#look());
    }, 500);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  of(pid: number): readonly Usage[] {
    return this.#samples.get(pid) ?? [];
  }

  /** The process that was seen most often, `without` that one. */
  longestLived(without: number): { pid: number; samples: readonly Usage[] } {
    const others = [...this.#samples].filter(([pid]) => pid !== without);
    const [pid, samples] = others.reduce((longest, other) => (other[1].length > longest[1].length ? other : longest));
    return { pid, samples };
  }

  async #look(): Promise<void> {
    for (const pid of await this.#pids()) {
      const usage = await usageOf(pid);
      if (usage === undefined) continue;
      this.#samples.set(pid, [...this.of(pid), usage]);
    }
  }
}
