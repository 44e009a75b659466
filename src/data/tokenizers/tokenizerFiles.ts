/**
 * Hugging Face's tokenizer.json: the part of its schema that is used here, and safe parsing.
 * Format: https://huggingface.co/docs/tokenizers (there is no formal specification; this follows what both its Rust and its JavaScript
 * library read).
 */
import { z } from 'zod';
import { UserError } from '../../base/errors.ts';
import { isRecord } from '../../base/optionValues.ts';

const id = z
  .int()
  .min(0)
  .max(2 ** 24);

const bpeSchema = z.looseObject({
  type: z.literal('BPE'),
  vocab: z.record(z.string(), id),
  merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
  dropout: z.number().nullish(),
  continuing_subword_prefix: z.string().nullish(),
  end_of_word_suffix: z.string().nullish(),
  byte_fallback: z.boolean().nullish(),
  ignore_merges: z.boolean().nullish(),
});

const unigramSchema = z.looseObject({
  type: z.literal('Unigram'),
  vocab: z.array(z.tuple([z.string(), z.number()])).max(2 ** 24),
  unk_id: id.nullish(),
});

const tokenizerJsonSchema = z.looseObject({
  added_tokens: z.array(z.looseObject({ id, content: z.string().min(1), special: z.boolean() })).default([]),
  normalizer: z.unknown().optional(),
  pre_tokenizer: z.unknown().optional(),
  post_processor: z.unknown().optional(),
  decoder: z.unknown().optional(),
  model: z.discriminatedUnion('type', [bpeSchema, unigramSchema]),
});

export type BpeModel = z.infer<typeof bpeSchema>;
export type TokenizerJson = z.infer<typeof tokenizerJsonSchema>;

/** Parses the text of a tokenizer.json; throws a UserError that names the problem. `where` is its folder. */
export function parseTokenizerJson(text: string | undefined, where: string): TokenizerJson {
  const name = `${where}/tokenizer.json`;
  if (text === undefined) throw new UserError(`${name}: expected this file, but it is missing.`);
  const value = parseJson(text, name);
  // Files from the format's first years omit the model's type.
  const model = isRecord(value) && value['model'];
  if (isRecord(model) && model['type'] === undefined && 'merges' in model) model['type'] = 'BPE';
  if (isRecord(model) && typeof model['type'] === 'string' && !['BPE', 'Unigram'].includes(model['type'])) {
    throw new UserError(`${name}: expected a model of the type BPE or Unigram, received ${model['type']}.`);
  }
  const result = tokenizerJsonSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new UserError(`${name}: not a tokenizer this version can read: ${issue?.path.join('.')}: ${issue?.message}.`);
}

const tokenName = z.union([z.string(), z.looseObject({ content: z.string() }).transform(({ content }) => content)]);
const tokenizerConfigSchema = z.looseObject({ eos_token: tokenName.nullish() });

/** The settings of a tokenizer. */
export type TokenizerConfig = z.infer<typeof tokenizerConfigSchema>;

/** Parses a tokenizer_config.json, or a file like it, like {@link parseTokenizerJson}; a missing one sets nothing. */
export function parseTokenizerConfig(
  text: string | undefined,
  where: string,
  file = 'tokenizer_config.json',
): TokenizerConfig {
  const name = `${where}/${file}`;
  const result = tokenizerConfigSchema.safeParse(text === undefined ? {} : parseJson(text, name));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new UserError(`${name}: expected the settings of a tokenizer: ${issue?.path.join('.')}: ${issue?.message}.`);
}

/** Names of the end-of-document token if there is no tokenizer_config.json. */
const endOfTextNames = ['<|endoftext|>', '<|end_of_text|>', '</s>', '<eos>'];

/** The id of the end-of-document token: the configured one, or a special token with a known name. */
export function endOfTextId(
  specialTokens: ReadonlyMap<string, number>,
  config: Pick<TokenizerConfig, 'eos_token'>,
): number | undefined {
  const names = [config.eos_token ?? [], endOfTextNames].flat();
  const name = names.find((text) => specialTokens.has(text));
  return name === undefined ? undefined : specialTokens.get(name);
}

/** Beside a model's weights: the settings of generation. */
export const GENERATION_CONFIG_FILE = 'generation_config.json';

const generationConfigSchema = z.looseObject({ eos_token_id: z.union([id, z.array(id).max(64)]).nullish() });

/** The ids in a generation_config.json that end an answer. @throws UserError for a damaged file in the folder `where` */
export function endTokenIds(text: string | undefined, where: string): number[] {
  if (text === undefined) return [];
  const name = `${where}/${GENERATION_CONFIG_FILE}`;
  const result = generationConfigSchema.safeParse(parseJson(text, name));
  if (result.success) return [result.data.eos_token_id ?? []].flat();
  const issue = result.error.issues[0];
  throw new UserError(`${name}: expected the settings of generation: ${issue?.path.join('.')}: ${issue?.message}.`);
}

/** The post-processor that adds special tokens around a text; others that change no tokens, and sequences, have the same place. */
const templateProcessing = z.looseObject({
  type: z.literal('TemplateProcessing'),
  single: z
    .array(
      z.union([
        z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }) }),
        z.looseObject({ Sequence: z.unknown() }),
      ]),
    )
    .max(64),
  special_tokens: z.record(z.string(), z.looseObject({ ids: z.array(id).max(64) })),
});

/**
 * The ids of the special tokens that precede every text, as transformers adds them: `add_bos_token` in tokenizer_config.json changes
 * nothing beside a tokenizer.json. What a post-processor adds after a text is left out, because a text that is continued has no end yet.
 * @throws UserError for a damaged post-processor, also one with ids that are not special tokens of the file; `where` names its folder
 */
export function beginTokenIds({ post_processor: processor, added_tokens }: TokenizerJson, where: string): number[] {
  const parts = isRecord(processor) && Array.isArray(processor['processors']) ? processor['processors'] : [processor];
  const template: unknown = parts.find((part) => isRecord(part) && part['type'] === 'TemplateProcessing');
  if (template === undefined) return [];
  const result = templateProcessing.safeParse(template);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new UserError(
      `${where}/tokenizer.json: post_processor: ${issue?.path.join('.')}: ${issue?.message}. The file is damaged.`,
    );
  }
  const { single, special_tokens: tokens } = result.data;
  const text = single.findIndex((part) => 'Sequence' in part);
  const special = new Set(added_tokens.flatMap((token) => (token.special ? [token.id] : [])));
  return single.slice(0, Math.max(0, text)).flatMap((part) => {
    const { id: name } = part['SpecialToken'] as { id: string };
    const ids = tokens[name]?.ids ?? [];
    // Arrays of tokens have as many bits as the vocabulary needs.
    const unknown = ids.find((each) => !special.has(each));
    if (unknown === undefined) return ids;
    throw new UserError(
      `${where}/tokenizer.json: post_processor: ${JSON.stringify(name)} has the id ${unknown}, which is not one of the special tokens in added_tokens. The file is damaged.`,
    );
  });
}

/** A special token as tokenizer.json lists it. */
export function addedToken([content, id]: readonly [string, number]): object {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

/** The tokens of a vocabulary by id. Throws a UserError unless the ids are exactly 0 .. n - 1. */
export function tokensById(vocab: Readonly<Record<string, number>>, where: string): string[] {
  const entries = Object.entries(vocab).sort(([, a], [, b]) => a - b);
  if (entries.length === 0 || entries.some(([, token], index) => token !== index)) {
    const last = Math.max(0, entries.length - 1);
    throw new UserError(
      `${where}/tokenizer.json: expected a vocabulary with the ids 0 to ${last}, each once. The file is damaged.`,
    );
  }
  return entries.map(([token]) => token);
}

function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new UserError(`${name}: expected JSON, received text that does not parse. The file is damaged.`);
  }
}
