/** Language modelling on rows: each row is a text with a beginning and an end. The model learns all of it, and the token that ends it. */
import { UserError } from '../base/errors.ts';
import type { ChatTokenizer } from './chatFormat.ts';
import { targetsOf, tokenSampleFields } from './nextToken.ts';
import { checkKeys, type Row, textField } from './rows.ts';
import { nextTokenSample, placed } from './sft.ts';
import type { Task } from './task.ts';
import { textTokens } from './textTokens.ts';

/** A text, and its place in messages. */
export interface TextExample {
  readonly at: string;
  readonly text: string;
}

/** Rows `{text}`. A tokenizer without an end-of-document token has texts without an end. */
export function textTask({ tokenizer }: { tokenizer: ChatTokenizer }): Task<Row, TextExample> {
  const { length: begin } = tokenizer.beginTokens ?? [];
  return {
    name: 'language modelling',
    objective: 'next-token',
    fields: tokenSampleFields,
    parse: (row, at) => {
      checkKeys(row, ['text'], at);
      return { at, text: textField(row, 'text', at) };
    },
    encode: ({ at, text }) => {
      const ids = placed(at, () => textTokens(tokenizer, text));
      const tokens = tokenizer.endOfText === undefined ? ids : [...ids, tokenizer.endOfText];
      if (tokens.length < 2) throw new UserError(`${at}: expected at least 2 tokens, one to predict from another.`);
      return nextTokenSample({ tokens, isTarget: tokens.map((_, index) => index >= begin) });
    },
    weight: targetsOf,
  };
}
