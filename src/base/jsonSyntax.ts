/** Finds where a text stops being JSON. `JSON.parse` names the position of some mistakes only, and its messages differ between versions of Node. */

const blank = /[ \t\n\r]*/y;
const scalar = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
/** A string without its closing quote, up to the first invalid character. */
const openString = /"(?:[ !#-[\]-\uffff]+|\\(?:["\\/bfnrt]|u[\dA-Fa-f]{4}))*/y;

/**
 * The index of the first character that cannot continue a JSON text, the length of a text that ends too early, or undefined for valid
 * JSON. Iterative, so deep nesting needs no stack.
 */
export function jsonErrorIndex(text: string): number | undefined {
  const scanner = new Scanner(text);
  while (!scanner.isAtEnd) if (!scanner.skipToken()) return scanner.at;
  return scanner.isComplete ? undefined : text.length;
}

class Scanner {
  at = 0;
  readonly #text: string;
  readonly #open: ('{' | '[')[] = [];
  /** What comes next. */
  #expected: 'value' | 'key' | 'colon' | 'end' = 'value';
  /** Whether the last token opened a bracket, which may close at once. */
  #isFirst = false;

  constructor(text: string) {
    this.#text = text;
    this.#skip(blank);
  }

  get isAtEnd(): boolean {
    return this.at >= this.#text.length;
  }

  get isComplete(): boolean {
    return this.#expected === 'end' && this.#open.length === 0;
  }

  /** Skips a token and the blanks after it. False if it is invalid; `at` is then its first invalid character. */
  skipToken(): boolean {
    const isSkipped = this.#skipExpected(this.#text[this.at]!);
    if (isSkipped) this.#skip(blank);
    return isSkipped;
  }

  #skipExpected(char: string): boolean {
    const inside = this.#open.at(-1);
    const mayClose = this.#expected === 'end' || this.#isFirst;
    this.#isFirst = false;
    if (mayClose && inside !== undefined && char === (inside === '{' ? '}' : ']')) {
      this.#open.pop();
      return this.#advance('end');
    }
    switch (this.#expected) {
      case 'end':
        return char === ',' && inside !== undefined && this.#advance(inside === '{' ? 'key' : 'value');
      case 'colon':
        return char === ':' && this.#advance('value');
      case 'key':
        return this.#skipString() && this.#advance('colon');
      case 'value':
        if (char === '"') return this.#skipString() && this.#advance('end');
        if (char !== '{' && char !== '[') {
          if (!this.#skip(scalar)) return false;
          this.#expected = 'end';
          return true;
        }
        this.#open.push(char);
        this.#isFirst = true;
        return this.#advance(char === '{' ? 'key' : 'value');
    }
  }

  /** Stops at the closing quote. */
  #skipString(): boolean {
    return this.#skip(openString) && this.#text[this.at] === '"';
  }

  #advance(expected: 'value' | 'key' | 'colon' | 'end'): true {
    this.at++;
    this.#expected = expected;
    return true;
  }

  #skip(pattern: RegExp): boolean {
    pattern.lastIndex = this.at;
    if (!pattern.test(this.#text)) return false;
    this.at = pattern.lastIndex;
    return true;
  }
}

/** The place for messages: `line 2, column 5`, both from 1, or `the end`. */
export function placeOf(text: string, index: number): string {
  if (index >= text.length) return 'the end';
  const before = text.slice(0, index).split('\n');
  return `line ${before.length}, column ${before.at(-1)!.length + 1}`;
}
