/**
 * A chat template: Jinja, over `messages` and `add_generation_prompt`, as Hugging Face's models have it. It turns a conversation into text;
 * chatFormat.ts turns that into tokens and targets. Rendering is pure, so a template cannot ask for today's date.
 */
import { Environment, parse, tokenize } from '@huggingface/jinja';
import { invariant, messageOf, UserError } from '../base/errors.ts';
import { BoundedInterpreter } from './boundedInterpreter.ts';
import { type BuiltInTemplate, builtInTemplates, isBuiltInSource } from './builtInTemplates.ts';
import type { Message } from './messages.ts';
import { RenderBudget } from './renderBudget.ts';

/** Published templates have at most some 20,000 characters. */
const sourceLengthMax = 2 ** 18;
const rangeMax = 10_000;

/** The names that every template can use. The clock is not among them, so that rendering is pure; templates that want one have a fixed date as a default. */
const shared = environmentOf({
  ...{ true: true, false: false, none: null, True: true, False: false, None: null },
  range: boundedRange,
  raise_exception: (message: unknown): never => {
    throw new Error(String(message));
  },
});

/** What a template shows besides the messages. */
export interface RenderOptions {
  /** Whether the text ends where the assistant's next message starts. */
  readonly addGenerationPrompt: boolean;
  /** The name of the token that ends a text: what `eos_token` and `bos_token` are by default. */
  readonly end: string;
  /** The work that this may take. Default: that of one rendering. */
  readonly budget?: RenderBudget;
}

/** A parsed template. */
export class Template {
  /** For messages: a built-in name, or the file or folder that it comes from. */
  readonly name: string;
  /** The Jinja source. */
  readonly source: string;
  /** Whether each message adds a text of its own after the first, whatever comes before and after it. */
  readonly addsUp: boolean;
  readonly #variables: Readonly<Record<string, string>>;
  readonly #program: ReturnType<typeof parse>;

  /** @internal use {@link parseTemplate} */
  constructor(name: string, source: string, variables: Readonly<Record<string, string>>) {
    this.#variables = variables;
    this.name = name;
    this.source = source;
    this.addsUp = isBuiltInSource(source);
    // As transformers sets it up.
    this.#program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
  }

  /** The text of a conversation. @throws UserError if the template refuses it, renders too much, or takes too many steps */
  render(messages: readonly Message[], options: RenderOptions): string {
    const { addGenerationPrompt, end, budget = new RenderBudget() } = options;
    const tokens = { bos_token: end, eos_token: end, ...this.#variables };
    const environment = environmentOf({ ...tokens, messages, add_generation_prompt: addGenerationPrompt }, shared);
    let text: unknown;
    try {
      text = new BoundedInterpreter(environment, budget).evaluate(this.#program, environment).value;
    } catch (error) {
      throw new UserError(`the chat template ${this.name} cannot render this conversation: ${messageOf(error)}`);
    }
    invariant(typeof text === 'string', `a template renders text, not ${typeof text}`);
    return text;
  }
}

/**
 * Parses the Jinja source of a template.
 * @param name for messages
 * @param variables values that the template may show, such as `bos_token`
 * @throws UserError for a source that is too long, or not a template
 */
export function parseTemplate(
  source: string,
  name: string,
  variables: Readonly<Record<string, string>> = {},
): Template {
  if (source.length > sourceLengthMax) {
    throw new UserError(
      `the chat template ${name} has ${source.length} characters: expected at most ${sourceLengthMax}.`,
    );
  }
  try {
    return new Template(name, source, variables);
  } catch (error) {
    throw new UserError(`the chat template ${name} is not a Jinja template that can be read: ${messageOf(error)}`);
  }
}

/**
 * The template of this name that comes with Lockstep.
 * @param begin the names of special tokens that precede every conversation
 */
export function builtInTemplate(
  name: BuiltInTemplate,
  variables: Readonly<Record<string, string>> = {},
  begin = '',
): Template {
  const start = /[{}]/.test(begin) ? `{{ ${JSON.stringify(begin)} }}` : begin;
  return parseTemplate(start + builtInTemplates[name], name, variables);
}

/** Jinja's `range`, for at most {@link rangeMax} numbers. */
function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (!(count <= rangeMax)) throw new Error(`range: expected at most ${rangeMax} numbers`);
  return Array.from({ length: count }, (_, index) => start + index * step);
}

function environmentOf(values: Readonly<Record<string, unknown>>, parent?: Environment): Environment {
  const environment = new Environment(parent);
  for (const [name, value] of Object.entries(values)) environment.set(name, value);
  return environment;
}
