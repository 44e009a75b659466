import type { StreamDecoder } from './tokenizer.ts';

/** The text of all tokens, by a decoder that has had none. */
export function decodeAll(decoder: StreamDecoder, tokens: Iterable<number>): string {
  let text = '';
  for (const token of tokens) text += decoder.push(token);
  return text + decoder.flush();
}
