/** Who encodes the jobs of `launch prepare`: threads, or this one. */
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
 * Bounds on a thread's heap: it needs less than half, but without a bound near what it needs the collector lets it grow to several
 * times that.
 */
const threadHeapMb = 256;
const threadYoungMb = 16;
/** How often it is looked whether all threads are up, at the end of a very short text, and for how long at most. */
const startPollMs = 5;
const startMostMs = 10_000;

export interface EncodePool {
  /** Jobs that are worth having under way: more would only take memory. */
  readonly jobsMax: number;
  encode(job: EncodeJob): Promise<EncodedJob | BadData>;
  characters(job: EncodeJob): Promise<{ characters: string } | BadData>;
  texts(job: EncodeJob): Promise<Texts | BadData>;
  close(): Promise<void>;
}

/** Makes a pool; without a tokenizer it cannot encode. */
export type MakePool = (tokenizer?: KnownTokenizer) => EncodePool;

/** So many threads, each with a tokenizer of its own. The bytes of a job move to its thread: it cannot be used again. */
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
      // One that is worked on and one that waits, so that no thread waits for the disk.
      jobsMax: 2 * threads + 1,
      encode: (job) => run('encode', job),
      characters: (job) => run('characters', job),
      texts: (job) => run('texts', job),
      async close() {
        // One that is ended while it starts would take the process with it (Node 20).
        const areUp = () => pool.threads.every((thread) => up.has(thread.threadId));
        for (let waitedMs = 0; waitedMs < startMostMs && !areUp(); waitedMs += startPollMs) await sleep(startPollMs);
        await pool.destroy();
      },
    };
  };
}

/** In this thread: the same results, for tests. */
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
