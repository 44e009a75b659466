/** The tokens at which a model's texts end, unless the user asks to ignore them. */
import { UserError } from '../base/errors.ts';
import { templateOf } from '../data/tokenizers/chatTemplate.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { ChatFormat } from '../task/chatFormat.ts';

/**
 * The end-of-document token, those of the model's generation_config.json, and for a model with a chat template also the token that ends an
 * answer. Such a template needs an end-of-document token.
 */
export function endTokensOf(tokenizer: Tokenizer): number[] {
  const { endOfText, endTokens = [] } = tokenizer;
  if (endOfText === undefined) return [...endTokens];
  const own = [...new Set([endOfText, ...endTokens])];
  try {
    const template = templateOf(tokenizer);
    return template === undefined ? own : new ChatFormat(template, tokenizer).endTokens;
  } catch (error) {
    // A text needs no template. The error is for a chat with the model.
    if (error instanceof UserError) return own;
    throw error;
  }
}
