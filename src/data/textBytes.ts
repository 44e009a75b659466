/** How long the text is that tokens stand for, whichever the tokenizer: what a loss is divided by to compare tokenizers. */
import type { TokenSequence } from './tokenArray.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';

/** Tokens that are decoded at a time. */
const sliceTokens = 2 ** 16;

/**
 * UTF-8 bytes of the text of the tokens [from, to) but the first, which is not predicted; the end of a document is none of its text.
 * In slices, since a text may be long: yields how many tokens more are done, returns the bytes.
 */
export function* targetBytes(
  tokenizer: Tokenizer,
  tokens: TokenSequence,
  from = 0,
  to = tokens.length,
): Generator<number, number, void> {
  const { endOfText } = tokenizer;
  const decoder = tokenizer.streamDecoder();
  decoder.push(tokens.subarray(from, from + 1)[0]!);
  let bytes = 0;
  for (let start = from + 1; start < to; start += sliceTokens) {
    const slice = tokens.subarray(start, Math.min(to, start + sliceTokens));
    for (const token of slice) bytes += Buffer.byteLength(token === endOfText ? decoder.flush() : decoder.push(token));
    yield slice.length;
  }
  return bytes + Buffer.byteLength(decoder.flush());
}
