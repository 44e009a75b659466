/** A thread of `launch prepare`: encodes jobs with the tokenizer from the given files. */
import { parentPort, threadId, workerData } from 'node:worker_threads';
import { tokenizerFromFiles } from '../tokenizers/openTokenizer.ts';
import type { TokenizerFacts } from '../tokenizers/tokenizerFacts.ts';
import {
  type BadData,
  charactersOf,
  type EncodedJob,
  type EncodeJob,
  JobEncoder,
  type Texts,
  textsOf,
} from './encodeJob.ts';

/** Undefined for a pass over the text to make a tokenizer. */
export type EncodeThreadData = Pick<TokenizerFacts, 'files' | 'endOfText'> | undefined;

const data = workerData as EncodeThreadData;
const encoder = data && new JobEncoder(await tokenizerFromFiles(data.files), data.endOfText);

/** Reports that the thread has started. */
export interface ThreadUp {
  readonly threadUp: number;
}

// Immediately, because the thread later sleeps without events until it gets a task.
parentPort?.postMessage({ threadUp: threadId } satisfies ThreadUp);

export function encode(job: EncodeJob): EncodedJob | BadData {
  if (encoder === undefined) throw new Error('a thread without a tokenizer cannot encode');
  return encoder.encode(job);
}

export function characters(job: EncodeJob): { characters: string } | BadData {
  return charactersOf(job);
}

export function texts(job: EncodeJob): Texts | BadData {
  return textsOf(job);
}
