/**
 * Supervised fine-tuning: a row is a conversation, and the model learns to write the assistant's messages and the token that ends each.
 * Everything else is context, with targets of -1.
 */
import { invariant, messageOf, UserError } from '../base/errors.ts';
import { ChatFormat, type ChatTokenizer, type ChatTokens, type Segment } from './chatFormat.ts';
import { parseChatRow } from './chatRows.ts';
import type { Message } from './messages.ts';
import { targetsOf, tokenSampleFields } from './nextToken.ts';
import type { Row } from './rows.ts';
import type { Sample, Task } from './task.ts';
import type { Template } from './template.ts';

/** How conversations become tokens. */
export interface ChatOptions {
  readonly tokenizer: ChatTokenizer;
  readonly template: Template;
}

/** A conversation that ends with an answer, and its place in messages. */
export interface ChatExample {
  readonly at: string;
  readonly segments: readonly Segment[];
}

/** @throws UserError for a tokenizer without an end-of-document token */
export function sftTask({ tokenizer, template }: ChatOptions): Task<Row, ChatExample> {
  const format = new ChatFormat(template, tokenizer);
  return {
    name: 'supervised fine-tuning',
    objective: 'next-token',
    fields: tokenSampleFields,
    parse: (row, at) => chatExample(format, parseChatRow(row, at), at),
    encode: (example) => nextTokenSample(encodeChat(format, example)),
    shorten: (example, tokens) => {
      const chat = encodeChat(format, example);
      const from = contextStart(chat, chat.tokens.length - (tokens + 1));
      return from === undefined ? undefined : nextTokenSample(withoutStart(chat, from));
    },
    weight: targetsOf,
  };
}

/** Renders a conversation, so that what the template refuses is found with its place. */
export function chatExample(format: ChatFormat, messages: readonly Message[], at: string): ChatExample {
  const segments = placed(at, () => format.segments(messages));
  if (segments[0]?.isTarget !== false) {
    throw new UserError(`${at}: the chat template renders nothing before the answer, so nothing predicts its start.`);
  }
  return { at, segments };
}

/** The tokens of a conversation. @throws UserError naming the row, for characters outside the vocabulary */
export function encodeChat(format: ChatFormat, { at, segments }: ChatExample): ChatTokens {
  return placed(at, () => format.encode(segments));
}

/** From each token the next one; -1 where that is not to be learned. */
export function nextTokenSample({ tokens, isTarget }: ChatTokens): Sample & { tokens: number[]; targets: number[] } {
  const targets = tokens.slice(1).map((token, index) => (isTarget[index + 1] ? token : -1));
  invariant(
    targets.some((target) => target >= 0),
    'a conversation has a target',
  );
  return { tokens: tokens.slice(0, -1), targets };
}

/**
 * Where a conversation may start if it must lose at least `excess` tokens: at a token of the context, with an answer after it. Answers before
 * that are lost with their questions; none is cut. Undefined if the last answer alone is too long.
 */
export function contextStart({ isTarget }: ChatTokens, excess: number): number | undefined {
  const from = isTarget.indexOf(false, Math.max(0, excess));
  return from >= 0 && isTarget.indexOf(true, from) >= 0 ? from : undefined;
}

/** The conversation from token `from` on. */
export function withoutStart({ tokens, isTarget }: ChatTokens, from: number): ChatTokens {
  return { tokens: tokens.slice(from), isTarget: isTarget.slice(from) };
}

/** Runs `action`; a UserError of it gets the row's place. */
export function placed<T>(at: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof UserError) throw new UserError(`${at}: ${messageOf(error)}`);
    throw error;
  }
}
