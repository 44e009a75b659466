/** Writes encoded jobs, in input order, to the shards of the splits, and counts their contents. */
import { randomKey, randomUniform } from '../../base/counterRandom.ts';
import type { TokenBytes } from '../shards/shardFormat.ts';
import type { ShardEntry, ShardRange } from '../shards/shardManifest.ts';
import { ShardWriter, type ShardWriterState } from '../shards/shardWriter.ts';
import { newTokenArray } from '../tokenArray.ts';
import type { EncodedJob } from './encodeJob.ts';

/** The validation tokens: a share at the end, or documents drawn with a probability. */
export interface Split {
  readonly by: 'fraction' | 'documents';
  readonly val: number;
}

/** Separates the draw of documents from other random streams. */
const valStream = randomKey(0x76616c64);

export interface SplitWriterOptions {
  readonly folder: string;
  readonly vocabSize: number;
  readonly tokenizerSha256: string;
  readonly split: Split;
  readonly shardTokens: number;
}

export interface SplitCounts {
  /** Number of complete documents. */
  readonly documents: number;
  readonly textBytes: number;
  readonly skipped: number;
}

export interface SplitWriterState extends SplitCounts {
  readonly writers: Readonly<Record<string, ShardWriterState>>;
}

const nothingYet: SplitWriterState = { documents: 0, textBytes: 0, skipped: 0, writers: {} };

export class SplitWriter {
  readonly tokenBytes: TokenBytes;
  readonly #split: Split;
  /** One writer for all tokens, or one each for train and val. */
  readonly #writers: ReadonlyMap<string, ShardWriter>;
  #counts: SplitCounts;

  private constructor(
    tokenBytes: TokenBytes,
    split: Split,
    writers: ReadonlyMap<string, ShardWriter>,
    counts: SplitCounts,
  ) {
    this.tokenBytes = tokenBytes;
    this.#split = split;
    this.#writers = writers;
    this.#counts = counts;
  }

  /** Resumes from the position that a process had reached, or begins. */
  static async open(
    { folder, split, shardTokens, vocabSize, tokenizerSha256 }: SplitWriterOptions,
    state: SplitWriterState = nothingYet,
  ): Promise<SplitWriter> {
    const tokenBytes = newTokenArray(vocabSize, 0).BYTES_PER_ELEMENT as TokenBytes;
    const header = { tokenBytes, vocabSize, tokenizerSha256 };
    const writers = new Map<string, ShardWriter>();
    for (const prefix of split.by === 'fraction' ? ['tokens'] : ['train', 'val']) {
      const before = state.writers[prefix] ?? { shards: [], openTokens: 0 };
      writers.set(prefix, await ShardWriter.open({ ...header, folder, prefix, shardTokens }, before));
    }
    const { documents, textBytes, skipped } = state;
    return new SplitWriter(tokenBytes, split, writers, { documents, textBytes, skipped });
  }

  get counts(): SplitCounts {
    return this.#counts;
  }

  /** Total of all shards. */
  get tokens(): number {
    return [...this.#writers.values()].reduce((sum, { tokens }) => sum + tokens, 0);
  }

  /** The complete shards. */
  get shardCount(): number {
    return [...this.#writers.values()].reduce((sum, { shardCount }) => sum + shardCount, 0);
  }

  async take({ tokens, documentEnds, textBytes, skipped }: EncodedJob): Promise<void> {
    const first = this.#counts.documents;
    if (this.#split.by === 'fraction') await this.#writer('tokens').append(tokens);
    else {
      // Tokens after the last end are part of the next document.
      for (let i = 0, start = 0; start < tokens.length; i++) {
        const end = documentEnds[i] ?? tokens.length;
        await this.#writer(this.#splitOf(first + i)).append(tokens.subarray(start, end));
        start = end;
      }
    }
    this.#counts = {
      documents: first + documentEnds.length,
      textBytes: this.#counts.textBytes + textBytes,
      skipped: this.#counts.skipped + skipped,
    };
  }

  /** Syncs everything so far to disk. */
  async flush(): Promise<SplitWriterState> {
    const writers: Record<string, ShardWriterState> = {};
    for (const [prefix, writer] of this.#writers) writers[prefix] = await writer.flush();
    return { ...this.#counts, writers };
  }

  /** Completes the shards, and returns which of their tokens train and validate. */
  async finish(): Promise<{ shards: ShardEntry[]; splits: { train: ShardRange[]; val: ShardRange[] } }> {
    const shardsOf = new Map<string, ShardEntry[]>();
    for (const [prefix, writer] of this.#writers) shardsOf.set(prefix, await writer.finish());
    const shards = [...shardsOf.values()].flat();
    if (this.#split.by === 'documents') {
      const [train = [], val = []] = [...shardsOf.values()].map((entries) => rangesOf(entries, 0, Number.MAX_VALUE));
      return { shards, splits: { train, val } };
    }
    const total = shards.reduce((sum, { tokens }) => sum + tokens, 0);
    const border = Math.floor(total * (1 - this.#split.val));
    return { shards, splits: { train: rangesOf(shards, 0, border), val: rangesOf(shards, border, total) } };
  }

  async close(): Promise<void> {
    for (const writer of this.#writers.values()) await writer.close();
  }

  #writer(prefix: 'tokens' | 'train' | 'val'): ShardWriter {
    return this.#writers.get(prefix)!;
  }

  /** Depends on the document's number alone, so that it is the same however the input is cut. */
  #splitOf(document: number): 'train' | 'val' {
    return randomUniform(valStream, document) < this.#split.val ? 'val' : 'train';
  }
}

/** The tokens [from, to) of consecutive shards. */
function rangesOf(shards: readonly ShardEntry[], from: number, to: number): ShardRange[] {
  let start = 0;
  return shards.flatMap(({ name, tokens }) => {
    const range = { shard: name, from: Math.max(0, from - start), to: Math.min(tokens, to - start) };
    start += tokens;
    return range.from < range.to ? [range] : [];
  });
}
