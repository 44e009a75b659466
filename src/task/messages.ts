/** The messages of a conversation, and their rules: a system message first if any, then user and assistant in turns. */
import { UserError } from '../base/errors.ts';
import { nearestWord } from '../base/nearest.ts';
import { asRow, checkKeys, type Row, shownValue } from './rows.ts';

/** Who says a message. */
export type Role = 'system' | 'user' | 'assistant';

/** One message, as a chat template sees it. */
export interface Message {
  readonly role: Role;
  /** Plain text: names of special tokens in it are ordinary text. */
  readonly content: string;
  /** The instruction without its input, for templates that show them apart. Only messages with an `input` have it. */
  readonly instruction?: string;
  /** What the instruction is about. */
  readonly input?: string;
}

const chatRoles: Readonly<Record<string, Role>> = { system: 'system', user: 'user', assistant: 'assistant' };
const shareGptRoles: Readonly<Record<string, Role>> = { ...chatRoles, human: 'user', gpt: 'assistant' };

/** The names of the fields of a message, and of its roles. */
interface MessageForm {
  readonly role: string;
  readonly content: string;
  readonly roles: Readonly<Record<string, Role>>;
}

/** OpenAI's and Hugging Face's form. */
export const chatForm: MessageForm = { role: 'role', content: 'content', roles: chatRoles };
/** ShareGPT's form. */
export const shareGptForm: MessageForm = { role: 'from', content: 'value', roles: shareGptRoles };

/** More than the context of a model holds. */
const messagesMax = 1000;

/** Parses an array of messages. @throws UserError for too many messages or one of another form; `key` names the array */
export function parseMessages(value: unknown, form: MessageForm, { key, at }: { key: string; at: string }): Message[] {
  if (!Array.isArray(value)) {
    throw new UserError(`${at}: expected an array of messages in ${key}, received ${shownValue(value)}.`);
  }
  if (value.length > messagesMax) {
    throw new UserError(
      `${at}: expected at most ${messagesMax} messages in ${key}, received ${value.length}. Split the conversation into several.`,
    );
  }
  return value.map((item: unknown, index) => {
    const where = `${at}: ${key}[${index}]`;
    const row = asRow(item, `a message with ${form.role} and ${form.content}`, where);
    checkKeys(row, [form.role, form.content], where);
    return { role: roleOf(row, form, where), content: contentOf(row, form, where) };
  });
}

function roleOf(row: Row, { role: key, roles }: MessageForm, where: string): Role {
  const value = row[key];
  const role = typeof value === 'string' && Object.hasOwn(roles, value) ? roles[value] : undefined;
  if (role !== undefined) return role;
  const guess = typeof value === 'string' ? nearestWord(value, Object.keys(roles)) : undefined;
  const advice = guess === undefined ? '' : ` Did you mean ${guess}?`;
  throw new UserError(
    `${where}: expected one of ${Object.keys(roles).join(', ')} in ${key}, received ${shownValue(value)}.${advice}`,
  );
}

function contentOf(row: Row, { content: key }: MessageForm, where: string): string {
  const value = row[key];
  if (typeof value === 'string' && value.trim() !== '') return value;
  if (value === undefined) throw new UserError(`${where}: expected a text in ${key}, but it is missing.`);
  if (typeof value === 'string') throw new UserError(`${where}: expected a text in ${key}, but it is empty.`);
  throw new UserError(`${where}: expected a text in ${key}, received ${shownValue(value)}. Only text is supported.`);
}

/**
 * Checks the order of the roles.
 * @param last who must have the last word: the assistant in training, the user when an answer is wanted
 * @throws UserError naming the first message out of order
 */
export function checkTurns(messages: readonly Message[], last: 'user' | 'assistant', at: string): void {
  const turns = messages[0]?.role === 'system' ? messages.slice(1) : messages;
  const offset = messages.length - turns.length;
  const place = (index: number): string => `${at}: message ${offset + index + 1}`;
  for (const [index, { role }] of turns.entries()) {
    const expected = index % 2 === 0 ? 'user' : 'assistant';
    if (role === expected) continue;
    if (role === 'system') throw new UserError(`${place(index)}: a system message is only allowed as the first.`);
    if (index === 0) throw new UserError(`${place(index)}: expected a message of the user first, received ${role}.`);
    throw new UserError(`${place(index)}: two messages of ${role} in a row. Join them, or add the one between them.`);
  }
  if (turns.at(-1)?.role === last) return;
  const found = messages.at(-1)?.role ?? 'no message';
  throw new UserError(`${at}: expected the last message to be of the ${last}, received ${found}.`);
}
