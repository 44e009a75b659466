/** Converts tokens to text as they come, in complete characters, up to a stop text. */
import type { StreamDecoder, Tokenizer } from '../data/tokenizers/tokenizer.ts';

/** The text after a prompt. A possible beginning of a stop text is held back until the next token decides. */
export class TextStream {
  readonly #decoder: StreamDecoder;
  readonly #stop: readonly string[];
  #held = '';
  #length = 0;
  #isStopped = false;

  /** @param stop texts that end it, each of at least one character; they are not part of it */
  constructor(tokenizer: Tokenizer, prompt: ArrayLike<number>, stop: readonly string[]) {
    this.#decoder = tokenizer.streamDecoder();
    // The text of the first new token may depend on the tokens before it (the space before a word in SentencePiece).
    for (let i = 0; i < prompt.length; i++) this.#decoder.push(prompt[i]!);
    this.#stop = stop;
  }

  /** Whether a stop text was found, so that no more text follows. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** UTF-16 units decoded so far, including text that is held back and a stop text. */
  get length(): number {
    return this.#length;
  }

  /** The text that `token` completes, without a possible beginning of a stop text; may be empty. */
  push(token: number): string {
    return this.#append(this.#decoder.push(token));
  }

  /** The remaining text at the end. */
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

  /** The length of the longest suffix of `text` that is a prefix of a stop text. */
  #beginningOfStop(text: string): number {
    const longest = Math.max(0, ...this.#stop.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(-length);
      if (this.#stop.some((stop) => stop.startsWith(end))) return length;
    }
    return 0;
  }
}
