/**
 * A chat template with a tokenizer: turns a conversation into tokens, and says which of them a model learns to write. Training, `chat` and
 * `serve` use this one way.
 *
 * The tokens of an answer are found by rendering the conversation up to it, then with it: what the second text adds is the answer. Both
 * sides of that border are encoded apart, so it is a token border in training exactly as at inference.
 */
import { UserError } from '../base/errors.ts';
import type { Message } from './messages.ts';
import { RenderBudget } from './renderBudget.ts';
import { endMark, SpecialNames, type TextPart } from './specialNames.ts';
import type { Template } from './template.ts';
import type { TextTokenizer } from './textTokens.ts';

/** What this needs of a tokenizer (data/tokenizers/tokenizer.ts). */
export interface ChatTokenizer extends TextTokenizer {
  /** Its name, for messages. */
  readonly kind: string;
  /** The end-of-document token. */
  readonly endOfText: number | undefined;
  /** Ids of the special tokens by name. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /** Tokens that end an answer besides `endOfText`. Default: none. */
  readonly endTokens?: readonly number[] | undefined;
}

/** A part of a rendered conversation, encoded by itself. */
export interface Segment extends TextPart {
  /** Whether the model learns to write it: the answers of the assistant, and the token that ends each. */
  readonly isTarget: boolean;
}

/** The tokens of a conversation. */
export interface ChatTokens {
  readonly tokens: number[];
  /** Whether each token is one that the model learns to write. */
  readonly isTarget: boolean[];
}

/** Renders messages in which names of special tokens are hidden. */
type Render = (hidden: readonly Message[], addGenerationPrompt: boolean) => string;

/** Renders the first `count` messages of a conversation. */
type RenderFirst = (count: number, addGenerationPrompt: boolean) => string;

const question: Message = { role: 'user', content: 'a' };
/** Comes before a message to find out what it adds. */
const anchor: Message = { role: 'system', content: 'a' };

export class ChatFormat {
  readonly #template: Template;
  readonly #tokenizer: ChatTokenizer;
  readonly #names: SpecialNames;
  /** The end-of-document token by name. */
  readonly #end: string;
  #endToken: number | undefined;
  #usualEnding: string | undefined;
  /** The length of the anchor's text, and what starts an answer. */
  #anchored: { readonly length: number; readonly answerStart: string } | undefined;

  /** @throws UserError for a tokenizer without an end-of-document token: no answer could end */
  constructor(template: Template, tokenizer: ChatTokenizer) {
    const end = [...tokenizer.specialTokens].find(([, id]) => id === tokenizer.endOfText)?.[0];
    if (end === undefined) {
      const others =
        'start from weights with another tokenizer, or train a new model with data.tokenizer: gpt2, byte or bpe:N, or with char on rows (data.examples).';
      throw new UserError(
        `the tokenizer ${tokenizer.kind} has no end-of-document token, so a model could not learn to end an answer. ` +
          (tokenizer.specialTokens.size === 0
            ? `${others[0]!.toUpperCase()}${others.slice(1)}`
            : `Name one of its special tokens as eos_token in tokenizer_config.json, ${others}`),
      );
    }
    this.#template = template;
    this.#tokenizer = tokenizer;
    this.#names = new SpecialNames(tokenizer.specialTokens.keys());
    this.#end = end;
  }

  /**
   * The parts of a conversation that ends with an answer.
   * @throws UserError naming the template if it does not render a beginning of the conversation to a beginning of its text
   */
  segments(messages: readonly Message[]): Segment[] {
    const all = this.#split(messages, false);
    // What follows the end of the last answer teaches nothing.
    return all.slice(0, all.findLastIndex(({ isTarget }) => isTarget) + 1);
  }

  /** The parts of a conversation that ends with a message of the user, up to where the answer starts. Throws as {@link segments}. */
  prompt(messages: readonly Message[]): Segment[] {
    return this.#split(messages, true);
  }

  /** The tokens of segments. @throws UserError for characters that the tokenizer cannot represent */
  encode(segments: readonly Segment[]): ChatTokens {
    const tokens: number[] = [];
    const isTarget: boolean[] = [];
    for (const segment of segments) {
      const { text, isSpecial } = segment;
      const ids = isSpecial ? [this.#tokenizer.specialTokens.get(text)!] : Array.from(this.#tokenizer.encode(text));
      for (const id of ids) {
        tokens.push(id);
        isTarget.push(segment.isTarget);
      }
    }
    return { tokens, isTarget };
  }

  /** The id of the token that ends an answer: the first that the template renders after it, or the end-of-document token. */
  get endToken(): number {
    if (this.#endToken === undefined) {
      const segments = this.segments([question, { role: 'assistant', content: 'a' }]);
      this.#endToken = this.#tokenizer.specialTokens.get(segments.at(-1)!.text)!;
    }
    return this.#endToken;
  }

  /** The ids of the tokens at which generation stops: the end of an answer, the end of a document, and those of the model. */
  get endTokens(): number[] {
    const { specialTokens, endTokens = [] } = this.#tokenizer;
    return [...new Set([this.endToken, specialTokens.get(this.#end)!, ...endTokens])];
  }

  /** The message with a mark for each name of a special token. */
  #hidden({ role, content, instruction, input }: Message): Message {
    const hide = (text: string | undefined): string => this.#names.hide(text ?? '');
    const message = { role, content: hide(content) };
    return input === undefined ? message : { ...message, instruction: hide(instruction), input: hide(input) };
  }

  /** Splits the text of all messages at the borders of the answers in it. */
  #split(plain: readonly Message[], addGenerationPrompt: boolean): Segment[] {
    const messages = plain.map((message) => this.#hidden(message));
    const render = this.#renderWithin(new RenderBudget());
    const renderFirst = this.#template.addsUp
      ? this.#summed(messages, render)
      : (count: number, prompts: boolean): string => render(messages.slice(0, count), prompts);
    const full = renderFirst(messages.length, addGenerationPrompt);
    const segments: Segment[] = [];
    let from = 0;
    const addParts = (parts: readonly TextPart[], isTarget: boolean): void => {
      for (const part of parts) addSegment(segments, { ...part, isTarget });
    };
    const add = (text: string, isTarget: boolean): void => addParts(this.#names.split(text), isTarget);
    for (const [index, { role }] of messages.entries()) {
      if (role !== 'assistant') continue;
      const before = renderFirst(index, true);
      const isAll = index === messages.length - 1 && !addGenerationPrompt;
      const after = isAll ? full : renderFirst(index + 1, false);
      if (before.length < from || !full.startsWith(after) || !after.startsWith(before)) throw this.#notNested(index);
      const ending = this.#ending(messages.slice(0, index + 1), after.slice(before.length), render);
      if (!after.endsWith(ending) || after.length - ending.length < before.length) throw this.#notNested(index);
      add(full.slice(from, before.length), false);
      add(after.slice(before.length, after.length - ending.length), true);
      // Up to the first special token of the ending, the model writes it.
      const parts = this.#names.split(ending);
      const end = parts.findIndex(({ isSpecial }) => isSpecial);
      if (end < 0) segments.push({ text: this.#end, isSpecial: true, isTarget: true });
      addParts(parts.slice(0, end + 1), true);
      addParts(parts.slice(end + 1), false);
      from = after.length;
    }
    add(full.slice(from), false);
    return segments;
  }

  /** Renders each message once, for a template whose texts add up. Otherwise the work grows with the square of the number of messages. */
  #summed(messages: readonly Message[], render: Render): RenderFirst {
    if (this.#anchored === undefined) {
      const text = render([anchor], false);
      this.#anchored = { length: text.length, answerStart: render([anchor], true).slice(text.length) };
    }
    const { length, answerStart } = this.#anchored;
    const texts = [''];
    for (const [index, message] of messages.entries()) {
      const added = index === 0 ? render([message], false) : render([anchor, message], false).slice(length);
      texts.push(texts[index]! + added);
    }
    return (count, addGenerationPrompt) => texts[count]! + (addGenerationPrompt ? answerStart : '');
  }

  /** What the template renders after the content of the last of `messages`. `answer`: that content and its ending, as rendered. */
  #ending(messages: readonly Message[], answer: string, render: Render): string {
    this.#usualEnding ??= this.#endingOfShort();
    const usual = this.#usualEnding;
    // Where only the content is before the usual ending, it is this answer's too. That saves a rendering for each answer.
    const isUsual = usual !== '' && answer.endsWith(usual);
    if (isUsual && answer.slice(0, -usual.length).trim() === messages.at(-1)!.content.trim()) return usual;
    return this.#endingAfter(messages.slice(0, -1), render);
  }

  /** The ending of an answer in the shortest conversation, or '' if the template does not render that. */
  #endingOfShort(): string {
    try {
      return this.#endingAfter([question], this.#renderWithin(new RenderBudget()));
    } catch (error) {
      if (error instanceof UserError) return '';
      throw error;
    }
  }

  #endingAfter(messages: readonly Message[], render: Render): string {
    const marked = render([...messages, { role: 'assistant', content: endMark }], false);
    const at = marked.lastIndexOf(endMark);
    if (at >= 0) return marked.slice(at + endMark.length);
    throw new UserError(`the chat template ${this.#template.name} leaves out the text of the assistant's messages.`);
  }

  #renderWithin(budget: RenderBudget): Render {
    return (hidden, addGenerationPrompt) =>
      this.#template.render(hidden, { addGenerationPrompt, end: this.#end, budget });
  }

  #notNested(index: number): UserError {
    return new UserError(
      `the chat template ${this.#template.name} renders message ${index + 1} differently with the messages after it, or with its answer, ` +
        'so what a model sees in training would differ from what it sees in use. Use another template in task.template, or conversations of one turn.',
    );
  }
}

/** Neighbours of one kind are encoded together. */
function addSegment(segments: Segment[], next: Segment): void {
  const last = segments.at(-1);
  const joins = last !== undefined && !last.isSpecial && !next.isSpecial && last.isTarget === next.isTarget;
  if (joins) segments[segments.length - 1] = { ...last, text: last.text + next.text };
  else segments.push(next);
}
