/** Runs the jobs of `launch prepare`, in threads or in this one. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Piscina } from 'piscina';
import type { KnownTokenizer } from '../tokenizers/tokenizerFacts.ts';
import {
  type BadData,
  charactersOf,
  type EncodedJob,
  type EncodeJob,
  JobEncoder,
  type Texts,
  textsOf,
} from './encodeJob.ts';
import type { EncodeThreadData, ThreadUp } from './encodeThread.ts';

/**
 * Limits of a thread's heap. A thread needs less than half, but without a limit the garbage collector lets it grow to several
 * times that.
 */
const threadHeapMb = 256;
const threadYoungMb = 16;
/** Interval, and maximum time, of the wait for all threads to start at the end of a very short text. */
const startPollMs = 5;
const startMostMs = 10_000;

export interface EncodePool {
  /** Number of jobs worth keeping in flight; more would only take memory. */
  readonly jobsMax: number;
  encode(job: EncodeJob): Promise<EncodedJob | BadData>;
  characters(job: EncodeJob): Promise<{ characters: string } | BadData>;
  texts(job: EncodeJob): Promise<Texts | BadData>;
  close(): Promise<void>;
}

/** Makes a pool. Without a tokenizer it cannot encode. */
export type MakePool = (tokenizer?: KnownTokenizer) => EncodePool;

/** A pool of `threads` threads, each with its own tokenizer. A job's bytes are transferred to its thread and cannot be used again. */
export function threadPool(threads: number): MakePool {
  return (tokenizer) => {
    const data: EncodeThreadData = tokenizer && { files: tokenizer.facts.files, endOfText: tokenizer.facts.endOfText };
    const pool = new Piscina({
      filename: new URL('./encodeThread.js', import.meta.url).href,
      minThreads: threads,
      maxThreads: threads,
      workerData: data,
      resourceLimits: { maxOldGenerationSizeMb: threadHeapMb, maxYoungGenerationSizeMb: threadYoungMb },
    });
    const up = new Set<number>();
    pool.on('message', ({ threadUp }: ThreadUp) => up.add(threadUp));
    const run = (name: string, job: EncodeJob) => {
      const transferList = job.chunks.flatMap((chunk) => (chunk.kind === 'rows' ? [] : [chunk.bytes.buffer]));
      return pool.run(job, { name, transferList });
    };
    return {
      // One in progress and one waiting, so that no thread waits for the disk.
      jobsMax: 2 * threads + 1,
      encode: (job) => run('encode', job),
      characters: (job) => run('characters', job),
      texts: (job) => run('texts', job),
      async close() {
        // Ending a thread while it starts would crash the process (Node 20).
        const areUp = () => pool.threads.every((thread) => up.has(thread.threadId));
        for (let waitedMs = 0; waitedMs < startMostMs && !areUp(); waitedMs += startPollMs) await sleep(startPollMs);
        await pool.destroy();
      },
    };
  };
}

/** Runs in this thread with the same results, for tests. */
export const inThisThread: MakePool = (tokenizer) => {
  const encoder = tokenizer && new JobEncoder(tokenizer.tokenizer, tokenizer.facts.endOfText);
  return {
    jobsMax: 1,
    encode: async (job) => encoder!.encode(job),
    characters: async (job) => charactersOf(job),
    texts: async (job) => textsOf(job),
    close: async () => undefined,
  };
};
