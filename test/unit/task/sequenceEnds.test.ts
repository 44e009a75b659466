import { expect, it } from 'vitest';
import { sequenceEnds } from '../../../src/task/seq2seq.ts';

it('advises a special token as the end only where the tokenizer has one', () => {
  const refused = (specialTokens: Map<string, number>) => () =>
    sequenceEnds({ kind: 'char', endOfText: undefined, specialTokens });
  expect(refused(new Map())).toThrow(/end a target\. Use data\.tokenizer: gpt2, byte or bpe:N, or char on rows/);
  expect(refused(new Map([['</s>', 2]]))).toThrow(/end a target\. Name one of its special tokens as eos_token/);
  expect(sequenceEnds({ kind: 'char', endOfText: 7, specialTokens: new Map() })).toEqual({ begin: 7, end: 7 });
});
