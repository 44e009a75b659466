/** The samples of rows: each row is parsed and encoded by a task, and fits into the model's context. */
import { createHash } from 'node:crypto';
import { UserError } from '../../base/errors.ts';
import { grouped } from '../../base/numberText.ts';
import type { PlacedRow, Row } from '../../task/rows.ts';
import { collate, type Sample, type SampleField, type Task } from '../../task/task.ts';

/** What happens to rows that are longer than the context. */
export type TooLong = 'error' | 'drop' | 'truncatePrompt';

/** Also without a key of a config: rows lose tokens of their prompt, and those that cannot are left out. */
type LongRows = TooLong | 'truncateOrDrop';

/** What happens to pairs whose answers are equal. */
export type EqualPairs = 'error' | 'drop';

/** The arrays of a sample, and how they are batched. */
export type SampleForm = Pick<Task<never>, 'fields' | 'weight' | 'objective'>;

/** A task, whatever its examples are. */
export interface RowTask {
  readonly form: SampleForm;
  /** Whether a sample is a pair of equal answers. */
  hasEqualAnswers(sample: Sample): boolean;
  /** @param at the row's place @throws UserError for a row that the task refuses */
  open(row: Row, at: string): OpenedRow;
}

interface OpenedRow {
  readonly sample: Sample;
  /** A sample of at most this number of tokens; undefined if that is impossible without losing the answer. */
  shortened(tokens: number): Sample | undefined;
}

export function rowTask<Example>(task: Task<Row, Example>): RowTask {
  return {
    form: task,
    hasEqualAnswers: (sample) => task.hasEqualAnswers?.(sample) ?? false,
    open: (row, at) => {
      const example = task.parse(row, at);
      return { sample: task.encode(example), shortened: (tokens) => task.shorten?.(example, tokens) };
    },
  };
}

/** Number of places listed in a message. */
const placesShown = 5;
/** Number of rows encoded before other work of the process. */
const rowsAtOnce = 500;

export interface ExampleSampleOptions {
  readonly task: RowTask;
  /** Maximum number of tokens in a sample. */
  readonly blockSize: number;
  readonly tooLong: LongRows;
  readonly equalPairs: EqualPairs;
  /** Whether a longer context is possible: the sizes of existing weights are fixed. */
  readonly canLengthen: boolean;
  readonly onNotice: (line: string) => void;
  readonly onProgress: (done: number) => void;
}

interface LongRow {
  readonly at: string;
  readonly length: number;
}

/**
 * The samples of each group of rows, without those that are dropped.
 * @throws UserError for a row that the task refuses, that has no target, that is too long, or whose two answers are equal
 */
export async function exampleSamples(
  groups: readonly (readonly PlacedRow[])[],
  options: ExampleSampleOptions,
): Promise<Sample[][]> {
  const { task, blockSize, tooLong, onProgress } = options;
  const equal: string[] = [];
  const total = groups.reduce((sum, { length }) => sum + length, 0);
  const long: LongRow[] = [];
  let shortened = 0;
  let done = 0;
  const samples: Sample[][] = [];
  for (const group of groups) {
    const ofGroup: Sample[] = [];
    samples.push(ofGroup);
    for (const { row, at } of group) {
      const opened = task.open(row, at);
      let sample: Sample | undefined = opened.sample;
      const length = lengthOf(task.form.fields, sample);
      if (task.hasEqualAnswers(sample)) {
        sample = undefined;
        equal.push(at);
      } else if (length > blockSize) {
        sample = tooLong.startsWith('truncate') ? opened.shortened(blockSize) : undefined;
        if (sample === undefined) long.push({ at, length });
        else shortened++;
      }
      if (sample !== undefined) ofGroup.push(withTargets(task.form, sample, at));
      if (++done % rowsAtOnce === 0) {
        onProgress(done / total);
        await new Promise((resume) => setImmediate(resume));
      }
    }
  }
  reportEqualPairs(equal, total, options);
  reportLongRows(long, { shortened, total }, options);
  return samples;
}

/** Number of positions of a sample: the length of its longest array, without those that have the same length in all samples. */
export function lengthOf(fields: SampleForm['fields'], sample: Sample): number {
  const names = Object.keys(fields).filter((name) => fields[name]?.length === undefined);
  return Math.max(...names.map((name) => sample[name]?.length ?? 0));
}

/** In typed arrays. @throws UserError for a row without any target: its loss would be 0 divided by 0 */
function withTargets({ fields, weight }: SampleForm, sample: Sample, at: string): Sample {
  const arrays = Object.fromEntries(
    Object.entries(sample).map(([name, values]) => {
      return [name, fields[name]?.dtype === 'float32' ? Float32Array.from(values) : Int32Array.from(values)];
    }),
  );
  if (weight(collate(fields, [arrays], lengthOf(fields, arrays))) > 0) return arrays;
  throw new UserError(`${at}: this row has nothing to learn: none of its tokens is a target`);
}

/** @throws UserError for pairs of equal answers, unless these are left out */
function reportEqualPairs(
  equal: readonly string[],
  total: number,
  { equalPairs, tooLong, onNotice }: ExampleSampleOptions,
): void {
  if (equal.length === 0) return;
  const found = `${countOf(equal.length, total)} whose chosen and rejected answers are equal, so that they prefer neither (${placesOf(equal)})`;
  if (equalPairs === 'error') {
    throw new UserError(
      `data.examples: found ${found}. Set task.equalPairs=drop to leave them out, or correct these rows`,
    );
  }
  onNotice(`left out ${found}${tooLong === 'truncateOrDrop' ? '' : ' (task.equalPairs)'}`);
}

/** The first places of rows. */
export function placesOf(places: readonly string[]): string {
  return [...places.slice(0, placesShown), ...(places.length > placesShown ? ['…'] : [])].join(', ');
}

/** @throws UserError for rows that are too long, unless these are left out */
function reportLongRows(
  long: readonly LongRow[],
  { shortened, total }: { shortened: number; total: number },
  { blockSize, tooLong, canLengthen, onNotice }: ExampleSampleOptions,
): void {
  const limit = `model.blockSize: ${blockSize}`;
  const setting = tooLong === 'truncateOrDrop' ? '' : ' (task.tooLong)';
  if (shortened > 0) onNotice(`shortened ${countOf(shortened, total)} to ${limit}${setting}`);
  const [first] = long;
  if (first === undefined) return;
  const longest = long.reduce((a, b) => (b.length > a.length ? b : a));
  const found = `${countOf(long.length, total)} with more than ${limit} tokens, the longest with ${grouped(longest.length)} (${longest.at})`;
  if (tooLong === 'drop' || tooLong === 'truncateOrDrop') {
    onNotice(`left out ${found}${setting}`);
    return;
  }
  const room = canLengthen ? `model.blockSize=${longest.length}` : undefined;
  const cures =
    tooLong === 'error'
      ? ['task.tooLong=truncatePrompt to shorten them', 'task.tooLong=drop to leave them out']
      : ['task.tooLong=drop to leave them out'];
  const why = tooLong === 'truncatePrompt' ? ', which cannot be shortened enough' : '';
  throw new UserError(
    `data.examples: found ${found}${why}. Set ${[...cures, ...(room === undefined ? [] : [room])].join(', or ')}`,
  );
}

function countOf(count: number, total: number): string {
  return `${grouped(count)} of ${grouped(total)} rows`;
}

/** Number of tokens, and of the targets among them. */
export interface TokenCount {
  readonly tokens: number;
  readonly targets: number;
}

/** Counts a sample's tokens: arrays of integers are padded with 0 if they hold tokens, and with -1 if they hold targets. */
export function countTokens(fields: SampleForm['fields'], sample: Sample): TokenCount {
  let [tokens, targets] = [0, 0];
  for (const [name, field] of Object.entries(fields)) {
    const values = sample[name] as Int32Array | Float32Array;
    if (isTokens(field)) tokens += values.length;
    else if (field.dtype === 'int32' && field.padding === -1) for (const value of values) if (value >= 0) targets++;
  }
  return { tokens, targets };
}

function isTokens({ dtype, padding, length }: SampleField): boolean {
  return dtype === 'int32' && padding === 0 && length === undefined;
}

/** Identifies a sample by its content. Hexadecimal. */
export function sampleHash(sample: Sample): string {
  const hash = createHash('sha256');
  for (const name of Object.keys(sample).sort()) {
    const { buffer, byteOffset, byteLength, length } = sample[name] as Int32Array;
    hash.update(`${name} ${length} `).update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest('hex');
}
