/** Prompts of policy gradients: rows with a question, and with its answer if the reward compares with it. */
import { ChatFormat } from './chatFormat.ts';
import { parsePromptRow } from './chatRows.ts';
import type { Message } from './messages.ts';
import type { Row } from './rows.ts';
import { type ChatOptions, placed } from './sft.ts';

/** A prompt, and what its rewards need. */
export interface Prompt {
  /** The place of the row, for messages. */
  readonly at: string;
  /** The conversation up to where the answer starts. */
  readonly tokens: readonly number[];
  /** The conversation; the last message is the user's. */
  readonly messages: readonly Message[];
  /** The answer of the row, if it has one. */
  readonly expected: string | undefined;
}

/** Reads prompts from rows. */
export interface PromptReader {
  /** The token that ends a completion. */
  readonly endToken: number;
  /** @throws UserError for a row without a prompt, and for characters outside the vocabulary */
  readonly read: (row: Row, at: string) => Prompt;
}

/** @throws UserError for a tokenizer without an end-of-document token */
export function promptReader({ tokenizer, template }: ChatOptions): PromptReader {
  const format = new ChatFormat(template, tokenizer);
  return {
    endToken: format.endToken,
    read: (row, at) => {
      const { messages, expected } = parsePromptRow(row, at);
      const { tokens } = placed(at, () => format.encode(format.prompt(messages)));
      return { at, tokens, messages, expected };
    },
  };
}
