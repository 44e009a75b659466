/**
 * One token for each distinct character (Unicode code point) of a text, numbered in code point order. nanoGPT's shakespeare_char uses
 * it: with a tiny vocabulary, small models spend their parameters elsewhere. A tokenizer made for
 * rows also has `<|endoftext|>`, after the characters.
 */
import { isDeepStrictEqual } from 'node:util';
import { UserError } from '../../base/errors.ts';
import { partsOf, type TextSource } from '../textSource.ts';
import { encodeAtOnce, newTokenArray, type TokenArray } from '../tokenArray.ts';
import type { EncodeSteps, StreamDecoder, Tokenizer } from './tokenizer.ts';
import { addedToken, type TokenizerJson, tokensById } from './tokenizerFiles.ts';
import { shownCharacters } from './unknownCharacters.ts';

const sliceUnits = 1 << 20;
const endName = '<|endoftext|>';
const codePoints = 0x11_0000;
/** Splitting at every character, in tokenizer.json's form. */
const everyCharacter = { type: 'Split', pattern: { Regex: '[\\s\\S]' }, behavior: 'Isolated', invert: false };

export class CharTokenizer implements Tokenizer {
  readonly kind = 'char';
  readonly endOfText: number | undefined;
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly #characters: readonly string[];
  /** Id + 1 by code point; 0 is a character outside the vocabulary. */
  readonly #idPlusOne: Uint32Array;

  private constructor(characters: readonly string[], hasEnd: boolean) {
    this.#characters = characters;
    this.endOfText = hasEnd ? characters.length : undefined;
    this.specialTokens = new Map(hasEnd ? [[endName, characters.length]] : []);
    this.#idPlusOne = new Uint32Array(codePoints);
    for (const [id, character] of characters.entries()) this.#idPlusOne[character.codePointAt(0) ?? 0] = id + 1;
  }

  /** A tokenizer with all characters of a text, and with `<|endoftext|>` if `hasEnd`. */
  static async fromText(source: TextSource, hasEnd = false): Promise<CharTokenizer> {
    const seen = new Uint8Array(codePoints);
    for await (const text of partsOf(source)) {
      for (let i = 0; i < text.length; i++) {
        const codePoint = text.codePointAt(i) as number;
        seen[codePoint] = 1;
        if (codePoint > 0xffff) i++;
      }
    }
    const characters: string[] = [];
    for (let codePoint = 0; codePoint < codePoints; codePoint++) {
      if (seen[codePoint]) characters.push(String.fromCodePoint(codePoint));
    }
    return new CharTokenizer(characters, hasEnd);
  }

  /** Whether a parsed tokenizer.json is of this kind. */
  static describes({ model, pre_tokenizer }: TokenizerJson): boolean {
    return model.type === 'BPE' && model.merges.length === 0 && isDeepStrictEqual(pre_tokenizer, everyCharacter);
  }

  /** From a parsed tokenizer.json; throws a UserError if {@link files} did not write it. */
  static fromJson({ model, added_tokens: added }: TokenizerJson, where: string): CharTokenizer {
    const characters = model.type === 'BPE' ? tokensById(model.vocab, where) : [''];
    const odd = characters.find((token) => token === '' || token !== String.fromCodePoint(token.codePointAt(0) ?? 0));
    if (odd !== undefined) {
      throw new UserError(
        `${where}/tokenizer.json: expected a character tokenizer, received tokens of several characters.`,
      );
    }
    const isOurs = added.length === 0 || (added.length === 1 && added[0]?.content === endName);
    if (!isOurs || added.some(({ id }) => id !== characters.length)) {
      throw new UserError(
        `${where}/tokenizer.json: expected a character tokenizer, received special tokens other than ${endName} after the characters.`,
      );
    }
    return new CharTokenizer(characters, added.length === 1);
  }

  get vocabSize(): number {
    return this.#characters.length + this.specialTokens.size;
  }

  encode(text: string): TokenArray {
    return encodeAtOnce(this.encodeSteps(text));
  }

  *encodeSteps(text: string): EncodeSteps {
    const idPlusOne = this.#idPlusOne;
    const tokens = newTokenArray(this.vocabSize, text.length);
    const unknown = new Set<number>();
    let length = 0;
    for (let i = 0, nextYield = sliceUnits; i < text.length; i++) {
      const codePoint = text.codePointAt(i) as number;
      if (codePoint > 0xffff) i++;
      const id = (idPlusOne[codePoint] as number) - 1;
      if (id < 0) unknown.add(codePoint);
      tokens[length++] = id;
      if (i >= nextYield) {
        yield i;
        nextYield += sliceUnits;
      }
    }
    if (unknown.size > 0) throw this.#unknownCharacters([...unknown]);
    return length === tokens.length ? tokens : tokens.slice(0, length);
  }

  #unknownCharacters(unknown: readonly number[]): UserError {
    return new UserError(
      `the text has characters that are not among the ${this.#characters.length} characters of this tokenizer: ${shownCharacters(unknown)}. ` +
        'Leave them out, or train a new model with data.tokenizer: gpt2 or bpe:8000, which can represent every text.',
    );
  }

  decode(tokens: Iterable<number>): string {
    let text = '';
    for (const token of tokens) text += this.#characters[token] ?? (token === this.endOfText ? endName : '\ufffd');
    return text;
  }

  streamDecoder(): StreamDecoder {
    return { push: (token) => this.decode([token]), flush: () => '' };
  }

  /** A BPE over single characters, without merges: the only model type in both Hugging Face libraries that fits. */
  files(): Record<string, string> {
    const vocab = Object.fromEntries(this.#characters.map((character, id) => [character, id]));
    const json = {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [...this.specialTokens].map(addedToken),
      normalizer: null,
      pre_tokenizer: everyCharacter,
      post_processor: null,
      decoder: { type: 'Fuse' },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab,
        merges: [],
      },
    };
    const special = this.endOfText === undefined ? {} : { bos_token: endName, eos_token: endName };
    const config = { tokenizer_class: 'PreTrainedTokenizerFast', ...special, clean_up_tokenization_spaces: false };
    return {
      'tokenizer.json': JSON.stringify(json),
      'tokenizer_config.json': `${JSON.stringify(config, undefined, 2)}\n`,
    };
  }
}
