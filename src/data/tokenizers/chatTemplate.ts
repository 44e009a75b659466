/**
 * The chat template of a tokenizer, as Hugging Face stores it: `chat_template` in tokenizer_config.json, or a file chat_template.jinja, which
 * newer versions of transformers write and prefer. A checkpoint thus says how its model was trained to read a conversation.
 */
import { readFile, stat } from 'node:fs/promises';
import { messageOf, UserError } from '../../base/errors.ts';
import { userPath } from '../../base/userPath.ts';
import { isBuiltInTemplate } from '../../task/builtInTemplates.ts';
import { builtInTemplate, parseTemplate, type Template } from '../../task/template.ts';
import type { Tokenizer } from './tokenizer.ts';
import { parseTokenizerConfig } from './tokenizerFiles.ts';

const configFile = 'tokenizer_config.json';
const templateFile = 'chat_template.jinja';
const mapFile = 'special_tokens_map.json';
const templateBytesMax = 2 ** 20;

type Files = Readonly<Record<string, string>>;

/**
 * The source of the template in a tokenizer's files; undefined if they have none. Among named templates it is the one named `default`.
 * @throws UserError for a template that is not text; `where` names the files' folder
 */
export function chatTemplateIn(files: Files, where: string): string | undefined {
  const own = files[templateFile];
  if (own !== undefined) return own;
  const { chat_template: template = null } = parseTokenizerConfig(files[configFile], where);
  if (template === null) return undefined;
  const source = Array.isArray(template) ? template.find((one) => fieldOf(one, 'name') === 'default') : template;
  const text = typeof source === 'string' ? source : fieldOf(source, 'template');
  if (typeof text === 'string') return text;
  throw new UserError(
    `${where}/${configFile}: chat_template: expected a text, or an array of {name, template} with a template named default.`,
  );
}

/** The template that came with a tokenizer; undefined if none did. @throws UserError if it cannot be parsed */
export function templateOf(tokenizer: Tokenizer): Template | undefined {
  const files = tokenizer.files();
  const source = chatTemplateIn(files, tokenizer.kind);
  return source === undefined
    ? undefined
    : parseTemplate(source, 'of the tokenizer', tokenNames(files, tokenizer.kind));
}

/**
 * The template that `task.template` names: `auto` is the one that came with the tokenizer, otherwise alpaca.
 * @param choice `auto`, a built-in name, or the path of a Jinja file, relative to `cwd`
 * @param setting what the user set, for messages
 * @throws UserError for a file that cannot be read or parsed
 */
export async function openTemplate(
  choice: string,
  tokenizer: Tokenizer,
  cwd: string,
  setting = 'task.template',
): Promise<Template> {
  const variables = tokenNames(tokenizer.files(), tokenizer.kind);
  // Templates of other programs render the begin tokens that they want themselves.
  const { beginTokens = [], specialTokens } = tokenizer;
  const names = new Map(Array.from(specialTokens, ([name, id]) => [id, name]));
  const begin = beginTokens.map((id) => names.get(id) ?? '').join('');
  if (choice === 'auto') return templateOf(tokenizer) ?? builtInTemplate('alpaca', variables, begin);
  if (isBuiltInTemplate(choice)) return builtInTemplate(choice, variables, begin);
  return parseTemplate(await readTemplate(choice, cwd, setting), choice, variables);
}

/** The tokenizer, whose files include this template in place of any that it came with. */
export function withChatTemplate(tokenizer: Tokenizer, source: string): Tokenizer {
  const { kind, vocabSize, endOfText, specialTokens, beginTokens, endTokens } = tokenizer;
  return {
    ...{ kind, vocabSize, endOfText, specialTokens, beginTokens, endTokens },
    encode: (text) => tokenizer.encode(text),
    encodeSteps: (text) => tokenizer.encodeSteps(text),
    decode: (tokens) => tokenizer.decode(tokens),
    streamDecoder: () => tokenizer.streamDecoder(),
    files: () => filesWith(tokenizer.files(), source),
  };
}

/** One of the two places is enough: every version of transformers reads the config. */
function filesWith(files: Files, source: string): Record<string, string> {
  const { [templateFile]: _, ...others } = files;
  const config = { ...(JSON.parse(files[configFile] ?? '{}') as object), chat_template: source };
  return { ...others, [configFile]: `${JSON.stringify(config, undefined, 2)}\n` };
}

/** `bos_token`, `eos_token` and the like, which templates show. */
function tokenNames(files: Files, where: string): Record<string, string> {
  const names: Record<string, string> = {};
  for (const file of [mapFile, configFile]) {
    for (const [key, value] of Object.entries(parseTokenizerConfig(files[file], where, file))) {
      const name = typeof value === 'string' ? value : fieldOf(value, 'content');
      if (/^[a-z]+_token$/.test(key) && typeof name === 'string') names[key] = name;
    }
  }
  return names;
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

async function readTemplate(path: string, cwd: string, setting: string): Promise<string> {
  const file = userPath(cwd, path);
  const expected = `${setting}: expected auto, alpaca, chatml, plain, or the path of a Jinja chat template`;
  try {
    const { size } = await stat(file);
    if (size > templateBytesMax) {
      throw new UserError(`${expected}, but ${path} has ${size} bytes, more than ${templateBytesMax}.`);
    }
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${expected}, but ${path} cannot be read: ${messageOf(error)}.`);
  }
}
