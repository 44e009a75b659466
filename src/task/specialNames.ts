/**
 * Tells the special tokens of a template from the same characters in a message. Before a template renders a message, every name of a special
 * token in it is replaced with a mark; names in the rendered text are then the template's own.
 */
import { escapeRegExp } from '../base/escapeRegExp.ts';

/** Noncharacters: Unicode reserves them for use inside a program. */
const [opening, closing] = ['\ufdd0', '\ufdd1'];
const marks = new RegExp(`${opening}(\\d+)${closing}`, 'g');

/** Stands for the content of a message, to find where it ends. No message contains it after {@link SpecialNames.hide}. */
export const endMark = `${opening}${closing}`;

/** A part of a text: plain text, or the name of one special token. */
export interface TextPart {
  readonly text: string;
  readonly isSpecial: boolean;
}

export class SpecialNames {
  /** What a mark's number stands for. */
  readonly #hidden: readonly string[];
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #toHide: RegExp;
  readonly #names: RegExp | undefined;

  /** @param names of the special tokens of a tokenizer */
  constructor(names: Iterable<string>) {
    // The longest name counts where several match.
    const sorted = [...names].sort((a, b) => b.length - a.length);
    this.#hidden = [...sorted, opening];
    this.#numbers = new Map(this.#hidden.map((text, number) => [text, number]));
    this.#toHide = new RegExp(this.#hidden.map(escapeRegExp).join('|'), 'gu');
    this.#names = sorted.length === 0 ? undefined : new RegExp(`(${sorted.map(escapeRegExp).join('|')})`, 'u');
  }

  /** The text with a mark for each name of a special token. */
  hide(text: string): string {
    return text.replace(this.#toHide, (found) => `${opening}${this.#numbers.get(found)}${closing}`);
  }

  /** Splits a rendered text at the special tokens of the template, and replaces the marks with what they stand for. No part is empty. */
  split(rendered: string): TextPart[] {
    if (rendered === '') return [];
    const parts = this.#names === undefined ? [rendered] : rendered.split(this.#names);
    return parts.flatMap((part, index): TextPart[] => {
      // The names are at odd indices.
      if (index % 2 === 1) return [{ text: part, isSpecial: true }];
      const text = part.replace(marks, (mark, number) => this.#hidden[Number(number)] ?? mark);
      return text === '' ? [] : [{ text, isSpecial: false }];
    });
  }
}
