/** The task that the config names (`task.kind`), with the tokenizer and the labels that it needs. */
import { UserError } from '../../base/errors.ts';
import type { TokenizerKind } from '../../base/tokenizerKind.ts';
import { classifyTask, labelsOf } from '../../task/classify.ts';
import type { PlacedRow } from '../../task/rows.ts';
import { textTask } from '../../task/textRows.ts';
import { createTokenizer } from '../tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { rowTask } from './exampleSamples.ts';
import type { ExampleTask } from './exampleSet.ts';

/** What a row contains. */
export type TaskKind = 'lm' | 'sft' | 'classify' | 'dpo' | 'reward';

export interface ExampleTaskOptions {
  readonly kind: TaskKind;
  /** The labels of a model that has some; empty: those of the training rows. */
  readonly labels: readonly string[];
  /** The tokenizer to create. */
  readonly tokenizerKind: TokenizerKind;
  /** That of existing weights. */
  readonly tokenizer: Tokenizer | undefined;
  readonly cwd: string;
}

/** @throws UserError for rows that do not fit the task, and for a tokenizer that cannot be created */
export async function exampleTask(
  rows: { readonly train: readonly PlacedRow[]; readonly all: readonly PlacedRow[] },
  { kind, labels: known, tokenizerKind, tokenizer: given, cwd }: ExampleTaskOptions,
): Promise<ExampleTask> {
  const tokenizer = given ?? (await createTokenizer(tokenizerKind, textsOf(rows.all), { cwd }));
  switch (kind) {
    case 'lm':
      return { task: rowTask(textTask({ tokenizer })), tokenizer };
    case 'classify': {
      const labels = known.length > 0 ? known : labelsOf(rows.train);
      return { task: rowTask(classifyTask({ tokenizer, labels })), tokenizer, labels };
    }
    default:
      throw new UserError(`task.kind: this version reads ${kind}, but cannot train it yet`);
  }
}

/** All texts in the rows. A vocabulary for them includes the characters of validation rows. */
function* textsOf(rows: readonly PlacedRow[]): Generator<string> {
  for (const { row } of rows) {
    const values: unknown[] = Object.values(row);
    while (values.length > 0) {
      const value = values.pop();
      if (typeof value === 'string') yield value;
      else if (typeof value === 'object' && value !== null) values.push(...Object.values(value));
    }
  }
}
