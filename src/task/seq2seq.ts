/**
 * Sequence to sequence: a row is a source and its target, such as a sentence and its translation. An encoder reads the source, and the
 * decoder learns to write the target and the token that ends it.
 *
 * The decoder reads a begin token and the target, and predicts the target and an end token. The source ends with the end token as well.
 */
import type { Batch, BatchArray } from '../base/batch.ts';
import { invariant, UserError } from '../base/errors.ts';
import type { ChatTokenizer } from './chatFormat.ts';
import type { Question } from './exactMatch.ts';
import type { FieldRules } from './fields.ts';
import { targetsOf, tokenFields, tokenSampleFields } from './nextToken.ts';
import { checkKeys, type Row, textField } from './rows.ts';
import { placed } from './sft.ts';
import type { Sample, Task } from './task.ts';

/** A source and its target, and the row's place in messages. */
export interface SourceExample {
  readonly at: string;
  readonly source: string;
  readonly target: string;
}

/** The tokens around sources and targets. */
export interface SequenceEnds {
  /** Comes before the first token of a target. */
  readonly begin: number;
  /** Ends a source, and a target. */
  readonly end: number;
}

/**
 * The tokens that begin and end sequences: the end-of-document token is both, unless the model has another `begin`.
 * @throws UserError for a tokenizer without one
 */
export function sequenceEnds(
  { kind, endOfText, specialTokens }: Pick<ChatTokenizer, 'kind' | 'endOfText' | 'specialTokens'>,
  begin = endOfText,
): SequenceEnds {
  if (begin !== undefined && endOfText !== undefined) return { begin, end: endOfText };
  throw new UserError(
    `the tokenizer ${kind} has no end-of-document token, so a model could not learn to end a target. ` +
      (specialTokens.size === 0
        ? 'Use'
        : 'Name one of its special tokens as eos_token in tokenizer_config.json, or use') +
      ' data.tokenizer: gpt2, byte or bpe:N, or char on rows (data.examples).',
  );
}

/** The arrays of a sample. Padding of `sourceLength` is 1, because attention needs at least one key. */
const sampleFields: Task<never>['fields'] = {
  ...tokenSampleFields,
  source: { dtype: 'int32', padding: 0, axis: 'S' },
  sourceLength: { dtype: 'int32', padding: 1, length: 1 },
};

/** The input of a model of these sizes: T positions of the target, S of the source. */
export function sourceFields(sizes: { blockSize: number; vocabSize: number }): FieldRules {
  const { blockSize: max, vocabSize } = sizes;
  return {
    ...tokenFields(sizes),
    source: { dtype: 'int32', axes: [{ name: 'S', min: 1, max }], min: 0, max: vocabSize - 1 },
    sourceLength: {
      dtype: 'int32',
      axes: [{ name: 'one', min: 1, max: 1 }],
      min: 1,
      max,
      problem: ([length = 0], { S = 0 }) =>
        length > S ? `expected a length of at most the ${S} positions of source, received ${length}` : undefined,
    },
  };
}

/**
 * Rows `{source, target}`.
 * @param options `beginToken`: the token that targets of the model begin with. Default: the one that ends them
 * @throws UserError for a tokenizer without an end-of-document token
 */
export function seq2seqTask({
  tokenizer,
  beginToken,
}: {
  tokenizer: ChatTokenizer;
  beginToken?: number | undefined;
}): Task<Row, SourceExample> {
  const ends = sequenceEnds(tokenizer, beginToken);
  const tokensOf = (text: string, at: string): number[] => Array.from(placed(at, () => tokenizer.encode(text)));
  const sampleOf = ({ at, source, target }: SourceExample, sourceMax = Number.POSITIVE_INFINITY): Sample => {
    const ids = sourceTokens(tokensOf(source, `${at}: source`), ends, sourceMax);
    const written = tokensOf(target, `${at}: target`);
    return {
      tokens: [ends.begin, ...written],
      targets: [...written, ends.end],
      source: ids,
      sourceLength: [ids.length],
    };
  };
  return {
    name: 'sequence to sequence',
    objective: 'seq2seq',
    fields: sampleFields,
    parse: parseSourceRow,
    encode: (example) => sampleOf(example),
    // As is usual for translation, the beginning of the source stays.
    shorten: (example, tokens) => {
      const sample = sampleOf(example, tokens);
      return sample['tokens']!.length > tokens ? undefined : sample;
    },
    weight: targetsOf,
  };
}

/** @throws UserError for another row, and for an empty source or target */
export function parseSourceRow(row: Row, at: string): SourceExample {
  checkKeys(row, ['source', 'target'], at);
  return { at, source: textField(row, 'source', at), target: textField(row, 'target', at) };
}

/** The source of a row as a question, and its target as the expected answer. @throws UserError for another row */
export function parseSourceQuestion(tokenizer: ChatTokenizer, row: Row, at: string): Question {
  const { source, target } = parseSourceRow(row, at);
  return { at, prompt: Array.from(placed(`${at}: source`, () => tokenizer.encode(source))), expected: target };
}

/** What an encoder reads: at most `most` tokens with the one that ends them. */
export function sourceTokens(
  tokens: ArrayLike<number>,
  { end }: SequenceEnds,
  most = Number.POSITIVE_INFINITY,
): number[] {
  return [...Array.from(tokens).slice(0, most - 1), end];
}

/** The sources of a batch, and how many positions of each are not padding: [B]. */
export function sourceOf({ arrays }: Batch): BatchArray<Int32Array> & { readonly lengths: Int32Array } {
  const { source, sourceLength } = arrays as Partial<Record<string, BatchArray>>;
  const [data, lengths] = [source?.data, sourceLength?.data];
  invariant(
    source !== undefined && data instanceof Int32Array && lengths instanceof Int32Array,
    `expected a batch with source and sourceLength, received ${Object.keys(arrays).join(', ')}`,
  );
  return { shape: source.shape, data, lengths };
}
