/** A run's data: two sequences of tokens, train and val. openDataset.ts creates one; sampleOrder.ts decides which windows are drawn. */
import type { TokenizerKind } from '../base/tokenizerKind.ts';
import type { LineEndings } from './lineEndings.ts';
import type { SourceFormat } from './prepare/fileKinds.ts';
import type { TrainingSplit } from './sampler.ts';
import type { TokenSequence } from './tokenArray.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';

/** The `data` group of the config. */
export interface DataOptions {
  /** A file, folder or glob, a list of them, or `builtin`. */
  readonly text: string | readonly string[];
  /** Folders made by `launch prepare`, used instead of `text`. Default none. */
  readonly shards?: string | readonly string[];
  /** Shares of the samples, one per entry of `shards`. Empty or absent: in proportion to their tokens. */
  readonly weights?: readonly number[];
  /** The kind of tokenizer to create. */
  readonly tokenizer: TokenizerKind;
  /** The share of characters, at the end, used for validation. Ignored if `validation` is set. */
  readonly valFraction: number;
  /** Validation text in the form of `text`, or a folder made by `launch prepare`; then all of `text` or `shards` trains. Default none. */
  readonly validation?: string | readonly string[];
  /** The field of a JSON object, or the column of a table, that contains the text. Default `text`. */
  readonly field?: string;
  /** The format of the files in `text` and `validation`. Default `auto`: determined by their names and content. */
  readonly format?: SourceFormat | 'auto';
  /** Maximum size of the local cache of `shards` in an object store, in GiB. Default 16. */
  readonly cacheGiB?: number;
  /** `lf`, the default, converts CRLF to LF. */
  readonly lineEndings?: LineEndings;
}

export function cacheGiBOf({ cacheGiB = 16 }: DataOptions): number {
  return cacheGiB;
}

/** Further requirements for the data. */
export interface DatasetOptions {
  /** Context length in tokens. The training split must have one context and one more token. Absent: the data is not for training. */
  readonly blockSize?: number | undefined;
  /** Whether validation data is required. Default true. */
  readonly validates?: boolean;
  /** The folder that relative paths start from. */
  readonly cwd: string;
  /** Number of rows of the token embedding; 0 or absent uses the tokenizer's size. */
  readonly vocabSize?: number;
  /** The resumed checkpoint's tokenizer. Absent: a new one of the config's kind. */
  readonly tokenizer?: Tokenizer;
  /** The name, in messages, of the setting that names the text. Default `data.text`. */
  readonly setting?: string;
  /** Called with one-line notices about the data. */
  readonly onNotice?: (line: string) => void;
  /** Called periodically while a long text is encoded, with the fraction done, from 0 to 1. */
  readonly onProgress?: (done: number) => void;
}

/** Two sequences of tokens, for training and for validation, and their tokenizer. */
export interface Dataset extends TrainingSplit {
  /** The tokenizer that made the tokens and decodes them. */
  readonly tokenizer: Tokenizer;
  /** Number of rows of the token embedding: at least the tokenizer's size. */
  readonly vocabSize: number;
  /** The validation split. */
  readonly val: TokenSequence;
  /** A one-line description for display. */
  readonly description: string;
  /** Number of line ends converted from CRLF to LF. Absent for prepared data. */
  readonly normalised?: number;
  /** Hash of the tokens of both splits, by which a resume notices that the text or its split has changed. Hexadecimal. */
  readonly sha256: string;
  /** Hash of the tokenizer's files. Hexadecimal. */
  readonly tokenizerSha256: string;
}
