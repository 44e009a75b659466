import type { StreamDecoder } from './tokenizer.ts';

/** The text of all tokens, by an unused decoder. */
export function decodeAll(decoder: StreamDecoder, tokens: Iterable<number>): string {
  let text = '';
  for (const token of tokens) text += decoder.push(token);
  return text + decoder.flush();
}
