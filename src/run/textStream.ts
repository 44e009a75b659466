/** From tokens to text as they come: characters come whole, and a text that must not be passed ends it. */
import type { StreamDecoder, Tokenizer } from '../data/tokenizers/tokenizer.ts';

/** The text after a prompt. What may be the beginning of a stop text is held back until the next token shows whether it is. */
export class TextStream {
  readonly #decoder: StreamDecoder;
  readonly #stop: readonly string[];
  #held = '';
  #length = 0;
  #isStopped = false;

  /** @param stop texts that end it, each at least one character; they are not part of it */
  constructor(tokenizer: Tokenizer, prompt: ArrayLike<number>, stop: readonly string[]) {
    this.#decoder = tokenizer.streamDecoder();
    // What the first new token stands for may depend on those before it (the space before a word of SentencePiece's).
    for (let i = 0; i < prompt.length; i++) this.#decoder.push(prompt[i]!);
    this.#stop = stop;
  }

  /** Whether a stop text has come: nothing follows then. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** UTF-16 units decoded so far, what is held back and a stop text included. */
  get length(): number {
    return this.#length;
  }

  /** The text that `token` completes and no stop text can begin with; may be empty. */
  push(token: number): string {
    return this.#append(this.#decoder.push(token));
  }

  /** What is left at the end. */
  end(): string {
    const text = this.#append(this.#decoder.flush()) + this.#held;
    this.#held = '';
    return text;
  }

  #append(piece: string): string {
    if (this.#isStopped) return '';
    this.#length += piece.length;
    const text = this.#held + piece;
    const stops = this.#stop.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    this.#isStopped = stops.length > 0;
    const end = this.#isStopped ? Math.min(...stops) : text.length - this.#beginningOfStop(text);
    this.#held = this.#isStopped ? '' : text.slice(end);
    return text.slice(0, end);
  }

  /** The length of the longest end of `text` that a stop text begins with. */
  #beginningOfStop(text: string): number {
    const longest = Math.max(0, ...this.#stop.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(-length);
      if (this.#stop.some((stop) => stop.startsWith(end))) return length;
    }
    return 0;
  }
}
