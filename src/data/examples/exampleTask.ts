/** The task that the config names (`task.kind`), with the tokenizer and the labels that it needs. */
import { InvariantError } from '../../base/errors.ts';
import type { TokenizerKind } from '../../base/tokenizerKind.ts';
import { ChatFormat } from '../../task/chatFormat.ts';
import { parsePromptRow } from '../../task/chatRows.ts';
import { classifyTask, labelsOf } from '../../task/classify.ts';
import { isPolicyKind, rewardLabels, type TaskKind } from '../../task/kinds.ts';
import { pairsTask } from '../../task/pairs.ts';
import { type PromptReader, promptReader } from '../../task/prompts.ts';
import type { PlacedRow } from '../../task/rows.ts';
import { parseSourceRow, seq2seqTask } from '../../task/seq2seq.ts';
import { type ChatExample, placed, sftTask } from '../../task/sft.ts';
import type { Template } from '../../task/template.ts';
import { textTask } from '../../task/textRows.ts';
import { openTemplate, withChatTemplate } from '../tokenizers/chatTemplate.ts';
import { createTokenizer } from '../tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { rowTask } from './exampleSamples.ts';
import type { ExampleTask, TaskRows } from './exampleSet.ts';

export interface ExampleTaskOptions {
  readonly kind: TaskKind;
  /** `task.template`. */
  readonly template: string;
  /** The labels of a model that has some; empty: those of the rows. */
  readonly labels: readonly string[];
  /** The token that targets of the model begin with, if it is not the one that ends them. */
  readonly beginToken?: number | undefined;
  /** The tokenizer to create. */
  readonly tokenizerKind: TokenizerKind;
  /** That of existing weights. */
  readonly tokenizer: Tokenizer | undefined;
  readonly cwd: string;
}

/** @throws UserError for rows that do not fit the task, and for a tokenizer that cannot be created */
export async function exampleTask(rows: TaskRows, options: ExampleTaskOptions): Promise<ExampleTask> {
  const { kind, labels: known, beginToken, cwd } = options;
  const tokenizer = options.tokenizer ?? (await newTokenizer(rows.all, options));
  switch (kind) {
    case 'lm':
      return { task: rowTask(textTask({ tokenizer })), tokenizer };
    case 'classify': {
      const labels = known.length > 0 ? known : labelsOf(rows.examples);
      return { task: rowTask(classifyTask({ tokenizer, labels })), tokenizer, labels };
    }
    case 'seq2seq':
      return { task: rowTask(seq2seqTask({ tokenizer, beginToken })), tokenizer };
    case 'sft':
    case 'dpo':
    case 'reward': {
      const template = await openTemplate(options.template, tokenizer, cwd);
      // A checkpoint includes the template, for those who use the model.
      const withTemplate = withChatTemplate(tokenizer, template.source);
      if (kind === 'sft') return { task: rowTask(sftTask({ tokenizer, template })), tokenizer: withTemplate };
      const task = rowTask(pairsTask({ tokenizer, template, objective: kind }));
      return { task, tokenizer: withTemplate, ...(kind === 'reward' && { labels: rewardLabels }) };
    }
    case 'grpo':
    case 'ppo':
      throw new InvariantError(`the rows of ${kind} are prompts, not samples`);
    default:
      return kind satisfies never;
  }
}

/**
 * How the prompts of a policy are read.
 * @throws UserError as {@link exampleTask}
 */
export async function promptTask(
  rows: TaskRows,
  options: ExampleTaskOptions,
): Promise<{ reader: PromptReader; tokenizer: Tokenizer }> {
  const tokenizer = options.tokenizer ?? (await newTokenizer(rows.all, options));
  const template = await openTemplate(options.template, tokenizer, options.cwd);
  return { reader: promptReader({ tokenizer, template }), tokenizer: withChatTemplate(tokenizer, template.source) };
}

/** A tokenizer for these rows. A vocabulary includes the characters of validation rows and of the template. */
async function newTokenizer(
  rows: readonly PlacedRow[],
  { kind, template: choice, tokenizerKind, cwd }: ExampleTaskOptions,
): Promise<Tokenizer> {
  if (kind === 'lm' || kind === 'classify') {
    return createTokenizer(tokenizerKind, stringsIn(rows), { cwd, endOfText: true });
  }
  if (kind === 'seq2seq') return createTokenizer(tokenizerKind, sourcesAndTargets(rows), { cwd, endOfText: true });
  const isFromText = tokenizerKind === 'char' || tokenizerKind.startsWith('bpe:');
  if (!isFromText) return createTokenizer(tokenizerKind, '', { cwd });
  // Any tokenizer renders the same text, as long as it has the same special token.
  const renderer = await createTokenizer('byte', '');
  const template = await openTemplate(choice, renderer, cwd);
  return createTokenizer(tokenizerKind, renderedTexts(rows, { kind, template, renderer }), { cwd, endOfText: true });
}

/** The rows as the model reads them, without special tokens. */
function* renderedTexts(
  rows: readonly PlacedRow[],
  { kind, template, renderer }: { kind: ChatKind; template: Template; renderer: Tokenizer },
): Generator<string> {
  const chatsIn = chatReader(kind, { template, tokenizer: renderer });
  for (const { row, at } of rows) {
    for (const { segments } of chatsIn(row, at)) {
      for (const { text, isSpecial } of segments) if (!isSpecial) yield text;
    }
  }
}

/** The kinds whose rows are conversations. */
type ChatKind = Exclude<TaskKind, 'lm' | 'classify' | 'seq2seq'>;

type ChatReader = (row: PlacedRow['row'], at: string) => readonly ChatExample[];

function chatReader(
  kind: ChatKind,
  options: { readonly template: Template; readonly tokenizer: Tokenizer },
): ChatReader {
  if (kind === 'sft' || kind === 'grpo' || kind === 'ppo') {
    const task = sftTask(options);
    return (row, at) => [task.parse(row, at)];
  }
  if (isPolicyKind(kind)) {
    const format = new ChatFormat(options.template, options.tokenizer);
    return (row, at) => {
      const { messages, expected } = parsePromptRow(row, at);
      const answer = { text: expected ?? '', isSpecial: false, isTarget: true };
      return [{ at, segments: [...placed(at, () => format.prompt(messages)), answer] }];
    };
  }
  const task = pairsTask({ ...options, objective: kind });
  return (row, at) => {
    const { chosen, rejected } = task.parse(row, at);
    return [chosen, rejected];
  };
}

/** Both sides, which share a vocabulary. */
function* sourcesAndTargets(rows: readonly PlacedRow[]): Generator<string> {
  for (const { row, at } of rows) {
    const { source, target } = parseSourceRow(row, at);
    yield source;
    yield target;
  }
}

/** All texts in the rows. */
function* stringsIn(rows: readonly PlacedRow[]): Generator<string> {
  for (const { row } of rows) {
    const values: unknown[] = Object.values(row);
    while (values.length > 0) {
      const value = values.pop();
      if (typeof value === 'string') yield value;
      else if (typeof value === 'object' && value !== null) values.push(...Object.values(value));
    }
  }
}
