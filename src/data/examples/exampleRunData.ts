/** The data of a run on examples: batches of samples of different lengths, padded to the longest of their step. */
import type { Batch, WeighedBatch } from '../../base/batch.ts';
import { collate, type PaddedLengths, paddedLengths, type Sample } from '../../task/task.ts';
import { withoutBegin } from '../../task/textTokens.ts';
import { embeddingRows } from '../embeddingRows.ts';
import type { RunData, TrainingOptions, TrainingSamples, ValidationOptions, ValidationSamples } from '../runData.ts';
import { StepBatches } from '../stepBatches.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { ExampleOrder } from './exampleOrder.ts';
import { countTokens, type SampleForm } from './exampleSamples.ts';
import type { ExampleSet } from './exampleSet.ts';
import { completePairs, lacksReference } from './referencePairs.ts';

/** Number of tokens at the start of an example that its first word is looked for in. */
const openingTokens = 16;
/** Number of epochs whose sums of tokens are kept. */
const epochsKept = 2;

/**
 * @param vocabSize number of rows of the token embedding; 0 uses the tokenizer's size
 * @param reference identifies the reference log probabilities in the samples
 */
export function exampleRunData(set: ExampleSet, vocabSize: number, reference?: string): RunData {
  const { form, tokenizer, description, sha256, train } = set;
  const tokens = train.map((sample) => countTokens(form.fields, sample).tokens);
  return {
    kind: 'examples',
    tokenizer,
    vocabSize: embeddingRows(tokenizer, vocabSize),
    objective: form.objective,
    labels: set.labels,
    description,
    sha256,
    epochSamples: train.length,
    sequencesPerSample: 'chosen' in form.fields || 'source' in form.fields ? 2 : 1,
    sampleTokens: meanOf(tokens),
    get opening() {
      return openingOf(set);
    },
    samplePrompt: promptOf(set),
    pairs: lacksReference(set)
      ? {
          train,
          validation: set.validation,
          withReference: (values, hash) => exampleRunData(completePairs(set, values), vocabSize, hash),
        }
      : undefined,
    reference,
    training: (options) => new ExampleBatches(set, tokens, options),
    stepLengths: (options) => {
      const batches = new ExampleBatches(set, tokens, options);
      return (step) => meanOf(Object.values(batches.paddedLengths(step)));
    },
    validation: (options) => new ExampleValidation(set, options),
  };
}

function meanOf(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0) / numbers.length;
}

/** Those whose samples begin with an example's tokens, the prompt first. */
const promptObjectives: ReadonlySet<string> = new Set(['next-token', 'packed-tokens']);

/**
 * The prompt of the first validation example, or of the first example: its source, or the text before its first target. Undefined if that is
 * only one token, or if its text does not give the same tokens.
 */
function promptOf({ form, tokenizer, train, validation }: ExampleSet): string | undefined {
  const { source, tokens, targets } = (validation[0] ?? train[0]!) as Partial<Record<string, Int32Array>>;
  if (source !== undefined) return textOf(source.slice(0, -1), tokenizer);
  if (tokens === undefined || targets === undefined || !promptObjectives.has(form.objective)) return undefined;
  const prompt = withoutBegin(tokenizer, Array.from(tokens.slice(0, targets.findIndex((target) => target >= 0) + 1)));
  return prompt.length > 1 ? textOf(prompt, tokenizer) : undefined;
}

/** The text of these tokens; undefined if it gives other tokens. */
function textOf(tokens: ArrayLike<number>, tokenizer: Tokenizer): string | undefined {
  const ids = Array.from(tokens);
  const text = tokenizer.decode(ids);
  return !text.includes('\uFFFD') && tokenizer.encode(text).join() === ids.join() ? text : undefined;
}

/** The first characters of the first validation example, or of the first example. */
function openingOf({ tokenizer, train, validation }: ExampleSet): string {
  const sample = validation[0] ?? train[0]!;
  const tokens = Array.from((sample['source'] ?? sample['tokens'] ?? sample['chosen'])!);
  const first = withoutBegin(tokenizer, tokens.slice(0, openingTokens));
  const end = first.indexOf(tokenizer.endOfText ?? -1);
  return tokenizer.decode(end < 0 ? first : first.slice(0, end));
}

class ExampleBatches implements TrainingSamples {
  readonly sampleLimit: number;
  readonly #set: ExampleSet;
  /** Number of tokens of each training sample. */
  readonly #tokens: readonly number[];
  readonly #options: TrainingOptions;
  readonly #order: ExampleOrder;
  readonly #batches: StepBatches;
  /** For an epoch, the number of tokens in its first samples, by their number. */
  readonly #sums = new Map<number, Float64Array>();

  constructor(set: ExampleSet, tokens: readonly number[], options: TrainingOptions) {
    const { globalBatchSize, samplesBefore = (step: number) => step * globalBatchSize } = options;
    this.#set = set;
    this.#tokens = tokens;
    this.#options = options;
    this.#order = new ExampleOrder(set.train.length, options.seed);
    this.sampleLimit = options.epochs === 0 ? Number.POSITIVE_INFINITY : options.epochs * set.train.length;
    this.#batches = new StepBatches(samplesBefore, (_, before) => this.#make(before));
  }

  batch(step: number): WeighedBatch {
    return this.#batches.batch(step);
  }

  /** The lengths to which the samples of a step are padded: functions of all of them, never of a share, because dropout depends on them. */
  paddedLengths(step: number): PaddedLengths {
    const { samplesBefore = (steps: number) => steps * this.#options.globalBatchSize } = this.#options;
    return this.#lengthsOf(this.#samples(samplesBefore(step)));
  }

  tokensIn(samples: number): number {
    const perEpoch = this.#tokens.length;
    const epoch = Math.floor(samples / perEpoch);
    const sums = this.#sumsOf(epoch);
    return epoch * sums[perEpoch]! + sums[samples % perEpoch]!;
  }

  /** Places after the last epoch, in the last step, have padding: samples without a token and without a target. */
  #samples(samplesBefore: number): Sample[] {
    const { form, train } = this.#set;
    const nothing = Object.fromEntries(Object.keys(form.fields).map((name) => [name, []]));
    return Array.from({ length: this.#options.globalBatchSize }, (_, index) => {
      const place = samplesBefore + index;
      return place < this.sampleLimit ? train[this.#order.at(place)]! : nothing;
    });
  }

  #make(samplesBefore: number): WeighedBatch {
    const { form } = this.#set;
    const samples = this.#samples(samplesBefore);
    const batch = collate(form.fields, samples, this.#lengthsOf(samples));
    return { ...batch, weight: form.weight(batch) };
  }

  #lengthsOf(samples: readonly Sample[]): PaddedLengths {
    return paddedLengths(this.#set.form.fields, samples, this.#options.blockSize);
  }

  #sumsOf(epoch: number): Float64Array {
    const known = this.#sums.get(epoch);
    if (known !== undefined) return known;
    const count = this.#tokens.length;
    const sums = new Float64Array(count + 1);
    // Its own order: the permutation of the batches' epoch stays.
    const order = new ExampleOrder(count, this.#options.seed);
    for (let i = 0; i < count; i++) sums[i + 1] = sums[i]! + this.#tokens[order.at(epoch * count + i)]!;
    for (const other of [...this.#sums.keys()].slice(0, 1 - epochsKept)) this.#sums.delete(other);
    this.#sums.set(epoch, sums);
    return sums;
  }
}

class ExampleValidation implements ValidationSamples {
  readonly #form: SampleForm;
  readonly #blockSize: number;
  readonly #samples: readonly Sample[];

  constructor({ form, validation }: ExampleSet, { blockSize, batchSize, batches }: ValidationOptions) {
    this.#form = form;
    this.#blockSize = blockSize;
    const used = batches === 0 ? validation.length : Math.min(validation.length, batches * batchSize);
    this.#samples = Array.from({ length: used }, (_, i) => validation[Math.floor((i * validation.length) / used)]!);
  }

  get count(): number {
    return this.#samples.length;
  }

  batch(from: number, count: number): Batch {
    const { fields } = this.#form;
    const samples = this.#samples.slice(from, from + count);
    return collate(fields, samples, paddedLengths(fields, samples, this.#blockSize));
  }
}
