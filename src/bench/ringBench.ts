/**
 * The ring all-reduce between real processes of this machine: the cost of communication in a step if nothing hides it.
 *
 * `busGBs` is the number of bytes each rank sends, 2(N-1)/N of the data, divided by the time. It is comparable between numbers of ranks,
 * and with the bus bandwidth of other all-reduce benches.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { availableCores } from '../base/cores.ts';
import { PeerError } from '../base/errors.ts';
import { median } from '../base/statistics.ts';
import type { RingBenchReply, RingBenchRequest } from './ringBenchRank.ts';

export interface RingBenchOptions {
  ranks: readonly number[];
  /** Size of the data, in 10^6 bytes of float32. */
  mbytes: number;
  repetitions: number;
  bucketBytes: number;
  chunkBytes: number;
  /** Unix sockets, like workers of one machine. If false: ZeroMQ over loopback TCP, like workers of different machines. */
  localRing: boolean;
  /** CURVE encryption on the TCP connections, as between the machines of a run. */
  encrypted: boolean;
}

export interface RingBenchResult {
  name: 'ringAllReduce';
  ranks: number;
  mbytes: number;
  /** `curve`: TCP, encrypted. */
  carrier: 'unix' | 'curve' | 'tcp';
  /** Time until the last rank has the sums: the median and the minimum over the repetitions. */
  medianMs: number;
  minMs: number;
  busGBs: number;
  /** Processor time of all ranks for one all-reduce, median. */
  cpuMs: number;
  bytesSentPerRank: number;
  reduce: 'native' | 'javascript';
}

export interface RingBenchReport {
  machine: { cores: number };
  results: RingBenchResult[];
}

const warmups = 3;

/**
 * @param onProgress called after each all-reduce with the fraction done
 * @throws PeerError if a rank fails or a sum is wrong
 */
export async function runRingBench(
  options: RingBenchOptions,
  onProgress: (done: number) => void = () => undefined,
): Promise<RingBenchReport> {
  const results: RingBenchResult[] = [];
  for (const [i, worldSize] of options.ranks.entries()) {
    const progress = (done: number) => onProgress((i + done) / options.ranks.length);
    results.push(await benchWorld(worldSize, options, progress));
  }
  return { machine: { cores: availableCores() }, results };
}

function carrierOf(local: boolean, encrypted: boolean): RingBenchResult['carrier'] {
  if (local) return 'unix';
  return encrypted ? 'curve' : 'tcp';
}

async function benchWorld(
  worldSize: number,
  options: RingBenchOptions,
  onProgress: (done: number) => void,
): Promise<RingBenchResult> {
  const { chunkBytes, localRing, encrypted } = options;
  const elements = Math.round((options.mbytes * 1e6) / Float32Array.BYTES_PER_ELEMENT);
  const bucketElements = Math.max(1, Math.floor(options.bucketBytes / Float32Array.BYTES_PER_ELEMENT));
  const ranks = Array.from({ length: worldSize }, (_, rank) => new RankProcess(rank));
  try {
    const opened = await Promise.all(
      ranks.map((process, rank) =>
        process.ask(
          { type: 'open', rank, worldSize, elements, bucketElements, chunkBytes, localRing, encrypted },
          'opened',
        ),
      ),
    );
    const address = (rank: number) => opened[(rank + worldSize) % worldSize]?.address ?? '';
    await Promise.all(
      ranks.map((process, rank) =>
        process.ask({ type: 'form', next: address(rank + 1), previous: address(rank - 1) }, 'formed'),
      ),
    );
    const times: number[] = [];
    const cpuTimes: number[] = [];
    let bytesSentPerRank = 0;
    const steps = warmups + options.repetitions;
    for (let step = 0; step < steps; step++) {
      await Promise.all(ranks.map((process) => process.ask({ type: 'prepare', step }, 'prepared')));
      const check = step === 0 || step === steps - 1;
      const ends = await Promise.all(ranks.map((process) => process.ask({ type: 'step', check }, 'stepped')));
      const wrong = ends.reduce((sum, end) => sum + end.wrong, 0);
      if (wrong > 0) throw new PeerError(`${wrong} sums are wrong with ${worldSize} ranks, in repetition ${step}`);
      onProgress((step + 1) / steps);
      if (step < warmups) continue;
      times.push(Math.max(...ends.map(({ ms }) => ms)));
      cpuTimes.push(ends.reduce((sum, { cpuMs }) => sum + cpuMs, 0));
      bytesSentPerRank = Math.max(...ends.map(({ bytesSent }) => bytesSent));
    }
    const medianMs = median(times);
    return {
      name: 'ringAllReduce',
      ranks: worldSize,
      mbytes: options.mbytes,
      carrier: carrierOf(opened[0]?.local === true, encrypted),
      medianMs,
      minMs: Math.min(...times),
      busGBs: bytesSentPerRank / medianMs / 1e6,
      cpuMs: median(cpuTimes),
      bytesSentPerRank,
      reduce: opened[0]?.reduce ?? 'javascript',
    };
  } finally {
    for (const process of ranks) process.end();
  }
}

/** A forked rank that answers one request at a time. */
class RankProcess {
  readonly #rank: number;
  readonly #child: ChildProcess;
  #settle: ((reply: RingBenchReply) => void) | undefined;

  constructor(rank: number) {
    this.#rank = rank;
    this.#child = fork(fileURLToPath(new URL('./ringBenchRank.js', import.meta.url)));
    this.#child.on('message', (reply: RingBenchReply) => this.#reply(reply));
    this.#child.on('error', ({ message }) => this.#reply({ type: 'failed', message }));
    this.#child.on('exit', (code, signal) =>
      this.#reply({ type: 'failed', message: `it ended with ${signal ?? code}` }),
    );
  }

  async ask<T extends RingBenchReply['type']>(
    request: RingBenchRequest,
    expected: T,
  ): Promise<Extract<RingBenchReply, { type: T }>> {
    const reply = await new Promise<RingBenchReply>((resolve) => {
      this.#settle = resolve;
      this.#child.send(request, (error) => {
        if (error) this.#reply({ type: 'failed', message: `its process is gone (${error.message})` });
      });
    });
    if (reply.type === expected) return reply as Extract<RingBenchReply, { type: T }>;
    throw new PeerError(`rank ${this.#rank} failed: ${reply.type === 'failed' ? reply.message : reply.type}`);
  }

  end(): void {
    if (this.#child.connected) this.#child.disconnect();
  }

  #reply(reply: RingBenchReply): void {
    this.#settle?.(reply);
    this.#settle = undefined;
  }
}
