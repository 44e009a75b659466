/** Rows with a preferred and a rejected answer to one prompt, in the forms that public data sets have. */
import { UserError } from '../base/errors.ts';
import { instructionOf } from './chatRows.ts';
import { chatForm, checkTurns, type Message, parseMessages } from './messages.ts';
import { checkKeys, namesOf, type Row, textField } from './rows.ts';

/** Two conversations that differ in their last message only. */
export interface PairMessages {
  readonly chosen: readonly Message[];
  readonly rejected: readonly Message[];
}

/**
 * Rows `{prompt, chosen, rejected}`, where each is a text or an array of messages; `{chosen, rejected}`, where both are complete
 * conversations; and `{instruction, input, output, chosen, rejected}`, whose output is not used.
 * @throws UserError for other rows, different prompts, and empty answers
 */
export function parsePairRow(row: Row, at: string): PairMessages {
  if (!('chosen' in row) && !('rejected' in row)) {
    const forms = '{prompt, chosen, rejected} or {instruction, input, chosen, rejected}';
    throw new UserError(`${at}: expected ${forms}, received a row with ${namesOf(row)}.`);
  }
  const prompt = promptOf(row, at);
  const chosen = conversationOf(row, 'chosen', { prompt, at });
  const rejected = conversationOf(row, 'rejected', { prompt, at });
  if (!sameMessages(chosen.slice(0, -1), rejected.slice(0, -1))) {
    throw new UserError(`${at}: the prompts of chosen and rejected differ: expected two answers to the same prompt.`);
  }
  return { chosen, rejected };
}

/** The messages before the answers; undefined where chosen and rejected include them. */
function promptOf(row: Row, at: string): Message[] | undefined {
  if ('instruction' in row) {
    checkKeys(row, ['instruction', 'input', 'output', 'chosen', 'rejected'], at);
    return [instructionOf(row, at)];
  }
  checkKeys(row, ['prompt', 'chosen', 'rejected'], at);
  if (!('prompt' in row)) return undefined;
  if (typeof row['prompt'] === 'string') return [{ role: 'user', content: textField(row, 'prompt', at) }];
  return parseMessages(row['prompt'], chatForm, { key: 'prompt', at });
}

/** The prompt with an answer to it. */
function conversationOf(
  row: Row,
  key: 'chosen' | 'rejected',
  { prompt, at }: { prompt: Message[] | undefined; at: string },
): Message[] {
  const answer: Message[] = Array.isArray(row[key])
    ? parseMessages(row[key], chatForm, { key, at })
    : [{ role: 'assistant', content: textField(row, key, at) }];
  const isComplete = answer.length > 1 || prompt === undefined;
  if (isComplete && prompt !== undefined && !sameMessages(answer.slice(0, -1), prompt)) {
    throw new UserError(`${at}: ${key} starts with other messages than prompt: expected an answer to this prompt.`);
  }
  const messages = isComplete ? answer : [...(prompt ?? []), ...answer];
  checkTurns(messages, 'assistant', `${at}: ${key}`);
  return messages;
}

function sameMessages(a: readonly Message[], b: readonly Message[]): boolean {
  return a.length === b.length && a.every(({ role, content }, i) => role === b[i]?.role && content === b[i]?.content);
}
