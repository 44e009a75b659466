/**
 * Any other tokenizer.json of Hugging Face's format (BPE or Unigram, including SentencePiece models), through Hugging Face's JavaScript
 * library. It encodes like that library with one difference: plain text never becomes a special token.
 */
import type { Tokenizer as Library } from '@huggingface/tokenizers';
import { messageOf, UserError } from '../../base/errors.ts';
import type { TokenizerKind } from '../../base/tokenizerKind.ts';
import { encodeAtOnce, type TokenArray, TokenBuffer } from '../tokenArray.ts';
import { decodeAll } from './decodeAll.ts';
import type { EncodeSteps, StreamDecoder, Tokenizer } from './tokenizer.ts';
import { endOfTextId, type TokenizerConfig, type TokenizerJson } from './tokenizerFiles.ts';

/**
 * Longer texts are encoded in parts of at most this many UTF-16 units, which end with a line if possible: the library holds an object
 * for every few characters, and keeps a long word's tokens on the stack.
 */
const partUnitsMax = 1 << 15;

export interface LibraryTokenizerOptions {
  readonly kind: TokenizerKind;
  readonly json: TokenizerJson;
  readonly config: TokenizerConfig;
  readonly beginTokens: readonly number[];
  readonly endTokens: readonly number[];
  /** The source files, also written to checkpoints. */
  readonly files: Readonly<Record<string, string>>;
  /** The files' folder, for messages. */
  readonly where: string;
}

export class LibraryTokenizer implements Tokenizer {
  readonly kind: TokenizerKind;
  readonly vocabSize: number;
  readonly endOfText: number | undefined;
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly beginTokens: readonly number[];
  readonly endTokens: readonly number[];
  readonly #library: Library;
  readonly #specialText: ReadonlyMap<number, string>;
  readonly #files: Readonly<Record<string, string>>;

  private constructor(
    library: Library,
    { kind, json, config, beginTokens, endTokens, files }: LibraryTokenizerOptions,
  ) {
    const special = json.added_tokens.filter((token) => token.special);
    const ids = json.model.type === 'BPE' ? Object.values(json.model.vocab) : [json.model.vocab.length - 1];
    this.kind = kind;
    this.vocabSize =
      [...ids, ...json.added_tokens.map(({ id }) => id)].reduce((most, id) => Math.max(most, id), -1) + 1;
    this.specialTokens = new Map(special.map(({ content, id }) => [content, id]));
    this.endOfText = endOfTextId(this.specialTokens, config);
    this.beginTokens = beginTokens;
    this.endTokens = endTokens;
    this.#library = library;
    this.#specialText = new Map(special.map(({ content, id }) => [id, content]));
    this.#files = files;
  }

  /** Throws a UserError if the library does not support the file. */
  static async open(options: LibraryTokenizerOptions): Promise<LibraryTokenizer> {
    const { Tokenizer } = await import('@huggingface/tokenizers');
    try {
      const config = { ...options.config, clean_up_tokenization_spaces: false };
      const library = new Tokenizer(withoutSpecialTokens(options.json), config);
      useUnicodeSpaces(library.pre_tokenizer);
      return new LibraryTokenizer(library, options);
    } catch (error) {
      throw new UserError(
        `${options.where}/tokenizer.json: not a tokenizer this version can read: ${messageOf(error)}`,
      );
    }
  }

  encode(text: string): TokenArray {
    return encodeAtOnce(this.encodeSteps(text));
  }

  *encodeSteps(text: string): EncodeSteps {
    const out = new TokenBuffer(this.vocabSize, Math.ceil(text.length / 3));
    // Like UTF-8: half of a surrogate pair is not a character.
    const wellFormed = text.replace(/\p{Cs}/gu, '\ufffd');
    for (let start = 0; start < text.length; ) {
      const end = partEnd(wellFormed, start);
      for (const id of this.#library.encode(wellFormed.slice(start, end), { add_special_tokens: false }).ids) {
        // The library may return undefined for a character without a token, though its types exclude it.
        if ((id as number | undefined) === undefined) throw this.#unknownCharacter(wellFormed.slice(start, end));
        out.push(id);
      }
      start = end;
      yield start;
    }
    return out.take();
  }

  #unknownCharacter(part: string): UserError {
    return new UserError(
      `the text has characters for which the tokenizer ${this.kind} has no token, in the part that starts with ${JSON.stringify(part.slice(0, 40))}. ` +
        'Use a tokenizer with an unknown token, or with tokens for single bytes.',
    );
  }

  decode(tokens: Iterable<number>): string {
    return decodeAll(this.streamDecoder(), tokens);
  }

  /**
   * The library only decodes complete sequences, and a token's text may depend on the tokens before it. Each token is therefore decoded
   * together with the latest ones that ended in a complete character; the new part of the result is its text.
   */
  streamDecoder(): StreamDecoder {
    let shown: number[] = [];
    let shownText = '';
    let pending: number[] = [];
    const textOf = () => this.#decodeOrdinary([...shown, ...pending]).slice(shownText.length);
    const flush = (): string => {
      const text = pending.length === 0 ? '' : textOf();
      [shown, shownText, pending] = [[], '', []];
      return text;
    };
    const push = (token: number): string => {
      const special = this.#specialText.get(token);
      if (special !== undefined || this.#library.id_to_token(token) === undefined)
        return flush() + (special ?? '\ufffd');
      pending.push(token);
      const text = textOf();
      if (text === '' || text.endsWith('\ufffd')) return '';
      [shown, shownText, pending] = [pending, this.#decodeOrdinary(pending), []];
      return text;
    };
    return { push, flush };
  }

  #decodeOrdinary(tokens: number[]): string {
    return tokens.length === 0 ? '' : this.#library.decode(tokens);
  }

  files(): Record<string, string> {
    return { ...this.#files };
  }
}

/** GPT-2's pattern, with the reference's meaning of `\s`. */
const gpt2Pattern =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/**
 * For byte-level splitting the library uses JavaScript's `\s`, which includes U+FEFF and lacks U+0085; in all other patterns it uses
 * Unicode's White_Space.
 */
function useUnicodeSpaces(preTokenizer: object | null): void {
  if (preTokenizer === null) return;
  if ('tokenizers' in preTokenizer && Array.isArray(preTokenizer.tokenizers)) {
    for (const part of preTokenizer.tokenizers as object[]) useUnicodeSpaces(part);
  }
  if ('byte_encoder' in preTokenizer && 'pattern' in preTokenizer) preTokenizer.pattern = gpt2Pattern;
}

/**
 * The file without the parts that make special tokens from plain text: their list and, for Unigram, which may produce any piece of the
 * vocabulary, their names. No text contains half a surrogate pair.
 */
function withoutSpecialTokens(json: TokenizerJson): object {
  const special = json.added_tokens.filter((token) => token.special);
  const added_tokens = json.added_tokens.filter((token) => !token.special);
  // The library requires these five.
  const { normalizer = null, pre_tokenizer = null, decoder = null } = json;
  const rest = { ...json, added_tokens, normalizer, pre_tokenizer, decoder, post_processor: null };
  if (json.model.type !== 'Unigram') return rest;
  const vocab = [...json.model.vocab];
  for (const { id } of special) {
    const score = vocab[id]?.[1];
    if (score !== undefined) vocab[id] = [`\ud800${id}`, score];
  }
  return { ...rest, model: { ...json.model, vocab } };
}

/** The end of the part that starts at `start`: after the last complete line that fits, otherwise after a character. */
function partEnd(text: string, start: number): number {
  if (text.length - start <= partUnitsMax) return text.length;
  const line = text.lastIndexOf('\n', start + partUnitsMax - 1) + 1;
  if (line > start) return line;
  const end = start + partUnitsMax;
  return (text.codePointAt(end - 1) as number) > 0xffff ? end - 1 : end;
}
