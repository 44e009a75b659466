/** From sources to encoded jobs. Reading, cutting and encoding overlap; results come in input order. */
import { UserError } from '../../base/errors.ts';
import type { LineEndings } from '../lineEndings.ts';
import { type Chunk, type Cursor, type Reading, type ReadOptions, readChunks } from './chunks.ts';
import { partBytes } from './cuts.ts';
import type { BadData, EncodeJob } from './encodeJob.ts';
import type { InputHash } from './inputHash.ts';
import type { Source } from './source.ts';

export interface PipelineOptions<Result extends object> extends Omit<ReadOptions, 'onSkipped'> {
  readonly sources: readonly Source[];
  readonly from: Cursor;
  readonly skipBad: boolean;
  readonly lineEndings: LineEndings;
  /** For standard input: compares the bytes before `from`. */
  readonly inputHash?: InputHash | undefined;
  /** Maximum number of jobs in flight. */
  readonly jobsMax: number;
  readonly work: (job: EncodeJob) => Promise<Result | BadData>;
}

export interface Finished<Result> {
  readonly result: Result;
  /** The position to resume from after it. */
  readonly next: Cursor;
}

/** @throws UserError for the first error in input order */
export async function* pipeline<Result extends object>(
  options: PipelineOptions<Result>,
): AsyncGenerator<Finished<Result>> {
  const { sources, from, fields, onRead, skipBad, lineEndings, inputHash, jobsMax, work } = options;
  const underWay: { outcome: Promise<Result | BadData>; next: Cursor }[] = [];
  const first = async (): Promise<Finished<Result>> => {
    const { outcome, next } = underWay.shift()!;
    const result = await outcome;
    if ('problem' in result) throw new UserError(result.problem);
    return { result, next };
  };
  const onSkipped = (bytes: Uint8Array): void => inputHash?.add(bytes);
  const onDiscarded = (bytes: Uint8Array): void => {
    inputHash?.verify();
    inputHash?.add(bytes);
  };
  const groups = grouped(hashed(readChunks(sources, from, { fields, onRead, onSkipped, onDiscarded }), inputHash));
  let failure: { error: unknown } | undefined;
  try {
    while (failure === undefined) {
      const group = await groups.next().catch((error: unknown) => {
        failure = { error };
      });
      if (!group || group.done) break;
      const { chunks, next } = group.value;
      const outcome = work({ chunks, fields, skipBad, lineEndings });
      // The code that awaits it sees the error; until then it must not count as unhandled.
      outcome.catch(() => undefined);
      underWay.push({ outcome, next });
      if (underWay.length >= jobsMax) yield await first();
    }
    // Errors before an unreadable position are reported first.
    while (underWay.length > 0) yield await first();
    if (failure !== undefined) throw failure.error;
  } finally {
    await groups.return(undefined);
  }
}

/** Adds to each cursor the hash of standard input up to it. */
async function* hashed(readings: AsyncIterable<Reading>, hash: InputHash | undefined): AsyncGenerator<Reading> {
  for await (const reading of readings) {
    if (hash === undefined || reading.chunk.kind === 'rows') yield reading;
    else {
      hash.verify();
      hash.add(reading.chunk.bytes);
      yield { ...reading, next: { ...reading.next, inputSha256: hash.digest() } };
    }
  }
  hash?.verify();
}

/** Combines small chunks (a folder of small files). */
async function* grouped(readings: AsyncIterable<Reading>): AsyncGenerator<{ chunks: Chunk[]; next: Cursor }> {
  let chunks: Chunk[] = [];
  let size = 0;
  let last: Cursor | undefined;
  for await (const { chunk, next, size: chunkSize } of readings) {
    chunks.push(chunk);
    size += chunkSize;
    last = next;
    if (size < partBytes / 2) continue;
    yield { chunks, next };
    chunks = [];
    size = 0;
    last = undefined;
  }
  if (last !== undefined) yield { chunks, next: last };
}
