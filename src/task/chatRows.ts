/** Rows with a conversation to learn from, in the forms that public data sets have. The form is recognised by its keys. */
import { UserError } from '../base/errors.ts';
import { nearestWord } from '../base/nearest.ts';
import { chatForm, checkTurns, type Message, parseMessages, shareGptForm } from './messages.ts';
import { checkKeys, namesOf, optionalText, type Row, textField } from './rows.ts';

interface RowForm {
  /** All keys; the first identifies the form. */
  readonly keys: readonly [string, ...string[]];
  readonly parse: (row: Row, at: string) => Message[];
}

const forms: readonly RowForm[] = [
  { keys: ['messages'], parse: (row, at) => parseMessages(row['messages'], chatForm, { key: 'messages', at }) },
  {
    keys: ['conversations'],
    parse: (row, at) => parseMessages(row['conversations'], shareGptForm, { key: 'conversations', at }),
  },
  {
    keys: ['instruction', 'input', 'output'],
    parse: (row, at) => [instructionOf(row, at), { role: 'assistant', content: textField(row, 'output', at) }],
  },
  {
    keys: ['prompt', 'completion'],
    parse: (row, at) => [
      { role: 'user', content: textField(row, 'prompt', at) },
      { role: 'assistant', content: textField(row, 'completion', at) },
    ],
  },
];

/** For messages: every accepted form. */
const expectedForms = 'one of {instruction, input, output}, {messages}, {conversations} and {prompt, completion}';

/**
 * The messages of a row of any form; the last is the assistant's.
 * @throws UserError for a row of no known form, and for one that breaks the rules of its form
 */
export function parseChatRow(row: Row, at: string): Message[] {
  if ('chosen' in row && 'rejected' in row) {
    throw new UserError(
      `${at}: the row has a chosen and a rejected answer. Set task.kind to dpo or reward to learn from pairs, or remove these keys.`,
    );
  }
  const form = forms.find(({ keys: [key] }) => key in row) ?? forms.find(({ keys }) => keys.some((key) => key in row));
  if (form === undefined) throw unknownForm(row, at);
  checkKeys(row, form.keys, at);
  const messages = form.parse(row, at);
  checkTurns(messages, 'assistant', at);
  return messages;
}

/** A conversation that wants an answer, and that of the row if it has one. */
export interface PromptMessages {
  /** The last is the user's. */
  readonly messages: readonly Message[];
  readonly expected: string | undefined;
}

/**
 * The prompt of a row of any form; its answer may be missing. Earlier answers of a conversation are part of the prompt.
 * @throws UserError for a row of no known form, and for one that breaks the rules of its form
 */
export function parsePromptRow(row: Row, at: string): PromptMessages {
  for (const [key, form] of [
    ['messages', chatForm],
    ['conversations', shareGptForm],
  ] as const) {
    if (!(key in row)) continue;
    const messages = parseMessages(row[key], form, { key, at });
    if (messages.at(-1)?.role === 'assistant') break;
    checkKeys(row, [key], at);
    checkTurns(messages, 'user', at);
    return { messages, expected: undefined };
  }
  if ('instruction' in row && !('output' in row)) {
    checkKeys(row, ['instruction', 'input'], at);
    return { messages: [instructionOf(row, at)], expected: undefined };
  }
  if ('prompt' in row && !('completion' in row) && !('chosen' in row)) {
    checkKeys(row, ['prompt', 'completion'], at);
    return { messages: [{ role: 'user', content: textField(row, 'prompt', at) }], expected: undefined };
  }
  const messages = parseChatRow(row, at);
  return { messages: messages.slice(0, -1), expected: messages.at(-1)!.content };
}

/** The user's message of an Alpaca row: the instruction, and the input that it is about, if any. */
export function instructionOf(row: Row, at: string): Message {
  const instruction = textField(row, 'instruction', at);
  const input = optionalText(row, 'input', at);
  if (input === '') return { role: 'user', content: instruction };
  return { role: 'user', content: `${instruction}\n\n${input}`, instruction, input };
}

function unknownForm(row: Row, at: string): UserError {
  const known = forms.flatMap(({ keys }) => keys);
  const guesses = Object.keys(row).flatMap((key) => {
    const guess = nearestWord(key, known);
    return guess === undefined ? [] : [`${JSON.stringify(key)}: did you mean ${guess}?`];
  });
  const text = 'text' in row && !('label' in row) ? ['For rows of plain text set task.kind to lm.'] : [];
  const label = 'text' in row && 'label' in row ? ['To learn labels set task.kind to classify.'] : [];
  const advice = [...guesses.slice(0, 1), ...text, ...label].map((sentence) => ` ${sentence}`).join('');
  return new UserError(`${at}: expected ${expectedForms}, received a row with ${namesOf(row)}.${advice}`);
}
