/** What a run learns from: two sequences of tokens, train and val. openDataset.ts makes one; sampleOrder.ts decides which windows are drawn. */
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
  /** Folders that `launch prepare` made, which take the place of `text`. Default none. */
  readonly shards?: string | readonly string[];
  /** Shares of the samples, one for each of `shards`; empty or absent: in proportion to their tokens. */
  readonly weights?: readonly number[];
  /** What turns it into tokens: a new one of this kind. */
  readonly tokenizer: TokenizerKind;
  /** Share of the characters, at the end, that validates. It does not count where there is `validation`. */
  readonly valFraction: number;
  /** Text that validates, as `text`, or a folder that `launch prepare` made; all of `text` or `shards` trains. Default none. */
  readonly validation?: string | readonly string[];
  /** The field of a JSON object, or the column of a table, that has the text. Default `text`. */
  readonly field?: string;
  /** What the files of `text` and `validation` are. Default `auto`: as their names and their content say. */
  readonly format?: SourceFormat | 'auto';
  /** `lf`, the default, makes LF of CRLF. */
  readonly lineEndings?: LineEndings;
}

/** What else the data must fit. */
export interface DatasetOptions {
  /** Context length, in tokens, of which the data must have one to train on, and a token to validate. Absent: it is not for training. */
  readonly blockSize?: number | undefined;
  /** Whether there must be something to validate with. Default true. */
  readonly validates?: boolean;
  /** Relative paths start here. */
  readonly cwd: string;
  /** Rows of the token embedding; 0 or absent takes the tokenizer's size. */
  readonly vocabSize?: number;
  /** The tokenizer of the checkpoint that is resumed. Absent: a new one of the kind that the config names. */
  readonly tokenizer?: Tokenizer;
  /** How messages call the setting that named the text. Default `data.text`. */
  readonly setting?: string;
  /** Told what a user should know of the data, in a line. */
  readonly onNotice?: (line: string) => void;
  /** Called now and then while a long text is encoded, with the share that is done, from 0 to 1. */
  readonly onProgress?: (done: number) => void;
}

/** Two sequences of tokens, to train on and to validate with, and the tokenizer that made them. */
export interface Dataset extends TrainingSplit {
  /** What made the tokens, and makes text of them again. */
  readonly tokenizer: Tokenizer;
  /** Rows of the token embedding: at least the tokenizer's size. */
  readonly vocabSize: number;
  /** The validation split. */
  readonly val: TokenSequence;
  /** One line for people. */
  readonly description: string;
  /** Line ends of the text that were CRLF and became LF. Absent for prepared data. */
  readonly normalised?: number;
  /** Of the tokens of both splits, so that a resume notices that the text or its split has changed. Hexadecimal. */
  readonly sha256: string;
  /** Of the tokenizer's files. Hexadecimal. */
  readonly tokenizerSha256: string;
}
