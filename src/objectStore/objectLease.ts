/**
 * An object that names the process which writes below a prefix of a store, and which that process renews. Stores have no conditional PUT that all of them
 * know, so two processes that claim it in the same second may both succeed. Each looks again before it writes what counts, and the one that
 * finds the other's name stops.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { PeerError } from '../base/errors.ts';
import { fateOf, processOf } from '../base/processes.ts';
import type { BucketClient } from './client.ts';
import { deleteObject, getObject, putObject } from './objects.ts';

export interface LeaseTimes {
  readonly renewEveryMs: number;
  /** An owner on another machine that has not renewed it for this time counts as dead. */
  readonly leaseMs: number;
  /** A renewal or a release that takes longer is given up: one that arrives late could overwrite the name of the next owner. */
  readonly requestMs: number;
  /** Two that claim it at the same time see each other within this time. */
  readonly settleMs: number;
}

const usualTimes: LeaseTimes = { renewEveryMs: 10_000, leaseMs: 45_000, requestMs: 8_000, settleMs: 200 };
const bytesMax = 4_096;

const ownerSchema = z.object({
  host: z.string(),
  boot: z.string(),
  pidNamespace: z.string(),
  pid: z.int(),
  startTime: z.string(),
  /** Different for each claim. */
  claim: z.string(),
  /** Number of renewals. */
  beat: z.int(),
});
type Owner = z.infer<typeof ownerSchema>;

/** What the object says. */
interface Found {
  /** Undefined for one that this version does not understand: a later version may have written it. */
  readonly owner: Owner | undefined;
  readonly text: string;
}

export interface LeaseOptions {
  /** The error message if a living process has it; `who` is `process 12 on host a`. */
  readonly refusal: (who: string) => string;
  /** Called once before a wait for an owner that cannot be asked. */
  readonly onWait: (message: string) => void;
  /** Called when another process has taken it: this one must stop writing. */
  readonly onLost: (who: string) => void;
  readonly times?: Partial<LeaseTimes> | undefined;
}

export class ObjectLease {
  readonly #client: BucketClient;
  readonly #key: string;
  readonly #options: LeaseOptions;
  readonly #times: LeaseTimes;
  readonly #claim = randomBytes(8).toString('hex');
  #beat = 0;
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<void> | undefined;
  readonly #ending = new AbortController();
  #isLost = false;

  private constructor(client: BucketClient, key: string, options: LeaseOptions) {
    this.#client = client;
    this.#key = key;
    this.#options = options;
    this.#times = { ...usualTimes, ...options.times };
  }

  /** @throws PeerError with the refusal, since the owner may end soon; as {@link BucketClient.send} if the store cannot be used */
  static async claim(client: BucketClient, key: string, options: LeaseOptions): Promise<ObjectLease> {
    const lease = new ObjectLease(client, key, options);
    await lease.#awaitFree();
    await lease.#put();
    await sleep(lease.#times.settleMs);
    const found = await lease.#read();
    if (found === undefined || !lease.#isOwn(found)) {
      throw new PeerError(options.refusal(found === undefined ? 'another process' : nameOf(found)));
    }
    lease.#timer = setInterval(() => lease.#renewSoon(), lease.#times.renewEveryMs).unref();
    return lease;
  }

  /** @throws PeerError if another process has taken it, or that is unknown */
  async check(signal?: AbortSignal): Promise<void> {
    const found = await this.#read(signal);
    if (found !== undefined && this.#isOwn(found)) return;
    // Only an owner removes it.
    const who = found === undefined ? 'a process that has ended since' : nameOf(found);
    if (!this.#isLost) this.#options.onLost(who);
    this.#isLost = true;
    clearInterval(this.#timer);
    throw new PeerError(`${who} has taken ${this.#client.pathOf(this.#key)}`);
  }

  /** Lets others have it. Never throws, and takes seconds at most: if the store does not answer, they wait until it is old. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    this.#ending.abort();
    await this.#renewing;
    try {
      if (this.#isLost) return;
      const signal = AbortSignal.timeout(this.#times.requestMs);
      const found = await this.#read(signal);
      if (found === undefined || !this.#isOwn(found)) return;
      await deleteObject(this.#client, this.#key, signal);
    } catch {
      // The store cannot be reached.
    }
  }

  async #awaitFree(): Promise<void> {
    const { refusal, onWait } = this.#options;
    const { leaseMs, renewEveryMs } = this.#times;
    let watched: { readonly found: Found; readonly sinceMs: number } | undefined;
    for (;;) {
      const found = await this.#read();
      if (found === undefined) return;
      const fate = found.owner === undefined ? 'unknown' : fateOf(found.owner);
      if (fate === 'gone') return;
      const isSame = watched !== undefined && watched.found.owner?.claim === found.owner?.claim;
      const isRenewed = isSame && watched?.found.text !== found.text;
      if (fate === 'alive' || isRenewed) throw new PeerError(refusal(nameOf(found)));
      if (watched === undefined || !isSame) {
        watched = { found, sinceMs: performance.now() };
        onWait(
          `${nameOf(found)} wrote to ${this.#client.pathOf(this.#key)}: waiting up to ${Math.ceil(leaseMs / 1_000)} s to see whether it still does`,
        );
      }
      if (performance.now() - watched.sinceMs > leaseMs) return;
      await sleep(Math.min(leaseMs, renewEveryMs) / 5);
    }
  }

  /** One at a time: those of an outage would only wait for each other. */
  #renewSoon(): void {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
  }

  async #renew(): Promise<void> {
    try {
      const signal = AbortSignal.any([this.#ending.signal, AbortSignal.timeout(this.#times.requestMs)]);
      await this.check(signal);
      await this.#put(signal);
    } catch {
      // Lost, which was said, or the store cannot be reached now.
    }
  }

  async #put(signal?: AbortSignal): Promise<void> {
    const owner: Owner = { ...processOf(), claim: this.#claim, beat: this.#beat++ };
    await putObject(this.#client, this.#key, Buffer.from(`${JSON.stringify(owner)}\n`), { signal });
  }

  #isOwn({ owner }: Found): boolean {
    return owner?.claim === this.#claim;
  }

  /** Undefined if it is free. */
  async #read(signal?: AbortSignal): Promise<Found | undefined> {
    const content = await getObject(this.#client, this.#key, bytesMax, signal);
    if (content === undefined) return undefined;
    const text = content.toString();
    return { owner: ownerOf(text), text };
  }
}

function ownerOf(text: string): Owner | undefined {
  try {
    return ownerSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function nameOf({ owner }: Found): string {
  return owner === undefined ? 'another process' : `process ${owner.pid} on ${owner.host}`;
}
