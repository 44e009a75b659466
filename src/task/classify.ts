/** Classification: a row is a text and its label, and the model says the label after the last token. */
import { UserError } from '../base/errors.ts';
import { labelLengthMax, labelsMax } from '../base/labelLimits.ts';
import { nearestWord } from '../base/nearest.ts';
import { grouped } from '../base/numberText.ts';
import type { ChatTokenizer } from './chatFormat.ts';
import { targetsOf, tokenSampleFields } from './nextToken.ts';
import { checkKeys, namesOf, type PlacedRow, type Row, shownValue, textField } from './rows.ts';
import { placed } from './sft.ts';
import type { Sample, Task } from './task.ts';
import { textTokens } from './textTokens.ts';

/** A text and the number of its class, and the row's place in messages. */
export interface ClassExample {
  readonly at: string;
  readonly text: string;
  readonly label: number;
}

const labelsShown = 10;

/**
 * Rows `{text, label}`; a label is a text, a whole number or a boolean.
 * @param labels the names of the classes, in order ({@link labelsOf})
 */
export function classifyTask({
  tokenizer,
  labels,
}: {
  tokenizer: ChatTokenizer;
  labels: readonly string[];
}): Task<Row, ClassExample> {
  const indices = new Map(labels.map((label, index) => [label, index]));
  const tokensOf = ({ at, text }: ClassExample): number[] => placed(at, () => textTokens(tokenizer, text));
  return {
    name: 'classification',
    objective: 'classes',
    fields: tokenSampleFields,
    parse: (row, at) => {
      checkKeys(row, ['text', 'label'], at);
      const text = textField(row, 'text', at);
      const name = labelOf(row, at);
      const label = indices.get(name);
      if (label === undefined) throw unknownLabel(name, labels, at);
      return { at, text, label };
    },
    encode: (example) => labelledSample(tokensOf(example), example.label),
    // As is usual for classification, the beginning stays.
    shorten: (example, tokens) => labelledSample(tokensOf(example).slice(0, tokens), example.label),
    weight: targetsOf,
  };
}

/** The label at the last token, -1 before it. */
export function labelledSample(tokens: number[], label: number): Sample & { tokens: number[]; targets: number[] } {
  return { tokens, targets: tokens.map((_, index) => (index === tokens.length - 1 ? label : -1)) };
}

/**
 * The distinct labels of rows: whole numbers by value, texts by code unit.
 * @throws UserError for a row without a label, for rows of one class only, and for more classes than a model may have
 */
export function labelsOf(rows: Iterable<PlacedRow>): string[] {
  const labels = new Set<string>();
  let first: string | undefined;
  for (const { row, at } of rows) {
    first ??= at;
    labels.add(labelOf(row, at));
    if (labels.size > labelsMax) {
      throw new UserError(
        `${at}: this row has a label that no row before it has, and there are ${grouped(labelsMax)} classes already, the maximum. Does label contain classes, or a different value in each row?`,
      );
    }
  }
  const sorted = [...labels].sort(byCodeUnit);
  if (sorted.length < 2) {
    const found =
      sorted[0] === undefined ? 'the data has no rows' : `all rows have the label ${JSON.stringify(sorted[0])}`;
    throw new UserError(`${first ?? 'data.examples'}: expected rows of at least two classes, but ${found}.`);
  }
  return sorted.every((label) => /^-?\d{1,15}$/.test(label)) ? sorted.sort((a, b) => Number(a) - Number(b)) : sorted;
}

function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The name of a row's class. @throws UserError if the row has none */
function labelOf(row: Row, at: string): string {
  const label = row['label'];
  if (typeof label === 'string' && label.length > labelLengthMax) {
    throw new UserError(
      `${at}: the label has ${grouped(label.length)} characters, expected at most ${grouped(labelLengthMax)}. Are text and label exchanged?`,
    );
  }
  if (typeof label === 'string' && label.trim() !== '') return label;
  if (typeof label === 'boolean' || Number.isSafeInteger(label)) return String(label);
  if (typeof label === 'bigint') return String(label);
  const found = 'label' in row ? `received ${shownValue(label)}` : `but the row has only ${namesOf(row)}`;
  throw new UserError(`${at}: expected a text, a whole number or a boolean in label, ${found}.`);
}

function unknownLabel(name: string, labels: readonly string[], at: string): UserError {
  const guess = nearestWord(name, labels);
  const shown = labels.slice(0, labelsShown).map((label) => JSON.stringify(label));
  const more = labels.length > labelsShown ? ` and ${labels.length - labelsShown} more` : '';
  const advice = guess === undefined ? '' : ` Did you mean ${guess}?`;
  return new UserError(
    `${at}: the label ${shownValue(name)} is not one of the classes, which are ${shown.join(', ')}${more}. They come from the training rows, model.labels or the weights.${advice}`,
  );
}
