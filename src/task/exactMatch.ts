/** Exact match: a model answers the questions of a data set, and its answers are compared with those of the data. */
import type { ChatFormat } from './chatFormat.ts';
import { parseChatRow } from './chatRows.ts';
import type { Message } from './messages.ts';
import type { Row } from './rows.ts';
import { placed } from './sft.ts';

/** A question, and its answer in the data. */
export interface Question {
  /** The place of the row, for messages. */
  readonly at: string;
  /** The conversation up to where the last answer starts. */
  readonly prompt: readonly number[];
  /** The last answer. */
  readonly expected: string;
}

/** An answer of a model. */
export interface Answer {
  readonly text: string;
  /** Whether it ended with an end token; otherwise the context was full. */
  readonly hasEnded: boolean;
}

/** The measures of answers. */
export interface ExactMatch {
  /** Number of questions. */
  readonly rows: number;
  /** Number of answers that ended and are equal to those of the data. */
  readonly matches: number;
  /** Number of answers that ended with an end token. */
  readonly ended: number;
  /** `matches` / `rows`. */
  readonly exactMatch: number;
  /** `ended` / `rows`. */
  readonly endedShare: number;
}

/**
 * The question of a row in any form that supervised fine-tuning reads. Earlier answers of the conversation are part of the question.
 * @throws UserError for a row that supervised fine-tuning refuses
 */
export function parseQuestion(format: ChatFormat, row: Row, at: string): Question {
  const messages = parseChatRow(row, at);
  const asked: readonly Message[] = messages.slice(0, -1);
  const { tokens } = placed(at, () => format.encode(format.prompt(asked)));
  return { at, prompt: tokens, expected: messages.at(-1)!.content };
}

/** Whether a text is the expected one; white space at both ends does not count, because templates add and remove it. */
export function isExactMatch(text: string, expected: string): boolean {
  return text.trim() === expected.trim();
}

/** @param answers to the questions, in their order */
export function exactMatch(questions: readonly Pick<Question, 'expected'>[], answers: readonly Answer[]): ExactMatch {
  const rows = questions.length;
  const matches = questions.filter(({ expected }, i) => {
    const { text, hasEnded } = answers[i]!;
    return hasEnded && isExactMatch(text, expected);
  }).length;
  const ended = answers.filter(({ hasEnded }) => hasEnded).length;
  const share = (count: number) => (rows > 0 ? count / rows : 0);
  return { rows, matches, ended, exactMatch: share(matches), endedShare: share(ended) };
}
