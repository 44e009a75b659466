/**
 * What a run needs of its data, whatever kind it is: the coordinator, checkpoints and plans use nothing else. textRunData.ts makes it
 * from text or shards, examples/exampleRunData.ts from rows.
 */
import type { Batch, WeighedBatch } from '../base/batch.ts';
import type { Prompt } from '../task/prompts.ts';
import type { Sample } from '../task/task.ts';
import type { TextSize } from '../task/textMeasures.ts';
import type { SamplerKind } from './sampleOrder.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';

/** The data of a run. */
export interface RunData {
  /** Its name in messages. */
  readonly kind: 'text' | 'examples';
  /** The tokenizer that made the tokens and decodes them. */
  readonly tokenizer: Tokenizer;
  /** Number of rows of the token embedding: at least the tokenizer's size. */
  readonly vocabSize: number;
  /** The name of the objective that learns from the samples. */
  readonly objective: string;
  /** A one-line description for display. */
  readonly description: string;
  /** Number of line ends converted from CRLF to LF. Absent for data without such a setting. */
  readonly normalised?: number | undefined;
  /** Hash of everything that determines the samples, by which a resume notices a change. Hexadecimal. */
  readonly sha256: string;
  /** Number of samples in one pass over the training data; a fraction where samples do not fill it evenly. */
  readonly epochSamples: number;
  /** Number of sequences in a sample: pairs have two, and so have a source and its target. */
  readonly sequencesPerSample: 1 | 2;
  /** Mean number of tokens in a training sample, in all its sequences. */
  readonly sampleTokens: number;
  /** The first characters of the data: of the text, or of an example. */
  readonly opening: string;
  /** A prompt for the sample at the end of the run. Absent: that of the config. */
  readonly samplePrompt?: string | undefined;
  /** The classes of a classification, in order. Absent or empty: the model predicts tokens. */
  readonly labels?: readonly string[];
  /** The pairs of preferences, to be completed before training. Absent: the samples are complete. */
  readonly pairs?: IncompletePairs | undefined;
  /** The prompts of a run that learns from its own answers. Its samples exist only after the model has answered. */
  readonly prompts?: { readonly prompts: readonly Prompt[]; readonly endToken: number } | undefined;
  /** Identifies the reference log probabilities with which pairs were completed. Hexadecimal. */
  readonly reference?: string | undefined;
  training(options: TrainingOptions): TrainingSamples;
  /**
   * For a step, counted from 0, the number of positions in each of its sequences, with the padding: a mean over sources and targets; for
   * rows that do not exist yet, at most that.
   */
  stepLengths(options: TrainingOptions): (step: number) => number;
  validation(options: ValidationOptions): ValidationSamples;
}

/** Pairs without the log probabilities of a reference, which are known only when the run has its weights. */
export interface IncompletePairs {
  readonly train: readonly Sample[];
  readonly validation: readonly Sample[];
  /**
   * The data with complete samples.
   * @param values [pairs, 2] each: chosen and rejected
   * @param sha256 identifies the values
   */
  withReference(values: { train: Float32Array; validation: Float32Array }, sha256: string): RunData;
}

/** What determines the samples of each step. */
export interface TrainingOptions {
  /** Equal seeds draw equal samples. */
  readonly seed: number;
  /** Number of samples in a step, over all workers. */
  readonly globalBatchSize: number;
  /** Maximum number of tokens in a sample. */
  readonly blockSize: number;
  /** The order of windows of text. */
  readonly sampler: SamplerKind;
  /** Number of passes after which the samples end; 0: they never end. */
  readonly epochs: number;
  /** Number of samples in all steps before the given one, counted from 0. Default: all steps have the same size. */
  readonly samplesBefore?: (step: number) => number;
}

/** The training samples of a run, in order. */
export interface TrainingSamples {
  /** Number of samples after which they end; infinite if they never do. */
  readonly sampleLimit: number;
  /** Number of tokens in the first `samples` samples, without padding. */
  tokensIn(samples: number): number;
  /** Told before the first step, so that what is far away can be fetched meanwhile; absent where everything is nearby. */
  readonly expect?: (step: number) => void;
  /**
   * The global batch of a step, counted from 0. Ranks get slices of it, and every loss is divided by the weight of the entire batch.
   * @throws UserError if it has no target at all: its mean loss would be a division by 0
   */
  batch(step: number): WeighedBatch;
  /** Nobody reads the batch of this step any more: its memory may be used for another. Absent where memory is not used again. */
  readonly release?: (step: number) => void;
}

/** Which validation samples a run evaluates. */
export interface ValidationOptions {
  /** Maximum number of tokens in a sample. */
  readonly blockSize: number;
  /** Number of samples in a batch. */
  readonly batchSize: number;
  /** Maximum number of batches, spread evenly over the validation data: an estimate. 0: all of it. */
  readonly batches: number;
}

/** The validation samples of a run. They are always the same, so estimates are comparable. */
export interface ValidationSamples {
  readonly count: number;
  /** The samples [from, from + count). */
  batch(from: number, count: number): Batch;
  /**
   * The text of all targets; absent where they are not the text itself.
   * @param onProgress called from time to time with the fraction done, from 0 to 1
   */
  readonly targetText?: (onProgress: (done: number) => void) => Promise<TextSize>;
}
