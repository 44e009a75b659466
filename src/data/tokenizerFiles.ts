/**
 * Hugging Face's tokenizer.json, as far as the tokenizers of this project use it: its schema and safe parsing.
 * Format: https://huggingface.co/docs/tokenizers (there is no formal specification; this is what both its Rust and its JavaScript
 * library read).
 */
import { z } from 'zod';
import { UserError } from '../base/errors.ts';

const tokenizerJsonSchema = z.object({
  model: z.object({
    type: z.literal('BPE'),
    vocab: z.record(
      z.string(),
      z
        .int()
        .min(0)
        .max(2 ** 24),
    ),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
  }),
  pre_tokenizer: z.object({ type: z.string() }).nullish(),
});

export type TokenizerJson = z.infer<typeof tokenizerJsonSchema>;

/** Parses the text of a tokenizer.json, throwing a UserError that says what is wrong with it. */
export function parseTokenizerJson(text: string | undefined, where: string): TokenizerJson {
  const name = `${where}/tokenizer.json`;
  if (text === undefined) throw new UserError(`${name}: expected this file, but it is missing.`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UserError(`${name}: expected JSON, got text that does not parse. The file is damaged.`);
  }
  const result = tokenizerJsonSchema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new UserError(`${name}: not a tokenizer this version can read: ${issue?.path.join('.')}: ${issue?.message}.`);
  }
  return result.data;
}

/** The tokens of a vocabulary by id. Throws a UserError unless the ids are exactly 0 .. n - 1. */
export function tokensById(vocab: Readonly<Record<string, number>>, where: string): string[] {
  const entries = Object.entries(vocab).sort(([, a], [, b]) => a - b);
  if (entries.length === 0 || entries.some(([, id], index) => id !== index)) {
    const last = Math.max(0, entries.length - 1);
    throw new UserError(
      `${where}/tokenizer.json: expected a vocabulary with the ids 0 to ${last}, each once. The file is damaged.`,
    );
  }
  return entries.map(([token]) => token);
}
