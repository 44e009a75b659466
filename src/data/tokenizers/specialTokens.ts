/** Special tokens in a text, for callers that request them: `Tokenizer.encode` treats every text as plain text. */
import { escapeRegExp } from '../../base/escapeRegExp.ts';
import { newTokenArray, type TokenArray } from '../tokenArray.ts';
import type { Tokenizer } from './tokenizer.ts';

/** Encodes a text in which names such as `<|endoftext|>` are special tokens; the longest matching name counts. */
export function encodeWithSpecialTokens(tokenizer: Tokenizer, text: string): TokenArray {
  const { specialTokens } = tokenizer;
  if (specialTokens.size === 0) return tokenizer.encode(text);
  const names = [...specialTokens.keys()].sort((a, b) => b.length - a.length).map(escapeRegExp);
  const tokens = text.split(new RegExp(`(${names.join('|')})`, 'u')).flatMap((part, index) => {
    // The parts between names are at even indices, the names at odd ones.
    return index % 2 === 1 ? [specialTokens.get(part)!] : [...tokenizer.encode(part)];
  });
  const all = newTokenArray(tokenizer.vocabSize, tokens.length);
  all.set(tokens);
  return all;
}
