/** The length in bytes of the text behind tokens of any tokenizer; losses are divided by it to compare tokenizers. */
import type { TokenSequence } from './tokenArray.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';

/** Number of tokens decoded at a time. */
const sliceTokens = 2 ** 16;

/**
 * UTF-8 bytes of the text of the tokens [from, to), without the first, which is not predicted. Tokens that begin or end a document are not
 * part of the text. Works in slices, because a text may be long: yields the number of tokens done since the last yield, returns the bytes.
 */
export function* targetBytes(
  tokenizer: Tokenizer,
  tokens: TokenSequence,
  from = 0,
  to = tokens.length,
): Generator<number, number, void> {
  const borders = new Set([tokenizer.endOfText, ...(tokenizer.beginTokens ?? [])]);
  const decoder = tokenizer.streamDecoder();
  decoder.push(tokens.subarray(from, from + 1)[0]!);
  let bytes = 0;
  for (let start = from + 1; start < to; start += sliceTokens) {
    const slice = tokens.subarray(start, Math.min(to, start + sliceTokens));
    for (const token of slice) bytes += Buffer.byteLength(borders.has(token) ? decoder.flush() : decoder.push(token));
    yield slice.length;
  }
  return bytes + Buffer.byteLength(decoder.flush());
}
