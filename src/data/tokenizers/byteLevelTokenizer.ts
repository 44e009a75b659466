/**
 * Byte-level byte-pair encoding, like GPT-2's. Every text whose bytes are in the vocabulary (nearly always all 256) decodes exactly. One
 * class serves the published encodings, those trained by Lockstep, and plain bytes; they differ in their splitting and tables.
 *
 * Lockstep has its own splitting (preTokenizers.ts) and merging (bytePairs.ts), because they must take linear time on any input, and
 * because most words of a text are repetitions (pieceEncoder.ts). Plain text never becomes a special token.
 */
import { UserError } from '../../base/errors.ts';
import type { TokenizerKind } from '../../base/tokenizerKind.ts';
import { encodeAtOnce, type TokenArray, TokenBuffer } from '../tokenArray.ts';
import { byteLevelFiles } from './byteLevelFiles.ts';
import type { ByteLevelTables } from './byteLevelTables.ts';
import { BytePairs } from './bytePairs.ts';
import { decodeAll } from './decodeAll.ts';
import { PieceEncoder } from './pieceEncoder.ts';
import { pieceEnds } from './preTokenizers.ts';
import type { EncodeSteps, StreamDecoder, Tokenizer } from './tokenizer.ts';
import { shownCharacters } from './unknownCharacters.ts';

const sliceUnits = 1 << 20;

export class ByteLevelTokenizer implements Tokenizer {
  readonly kind: TokenizerKind;
  readonly vocabSize: number;
  readonly endOfText: number | undefined;
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly beginTokens: readonly number[];
  readonly endTokens: readonly number[];
  readonly #tables: ByteLevelTables;
  readonly #byteTokens: Uint32Array;
  /** 1 for each byte with a token; undefined if all have one. */
  readonly #hasByte: Uint8Array | undefined;
  readonly #pieces: PieceEncoder;
  readonly #specialText: ReadonlyMap<number, string>;
  readonly #files: Readonly<Record<string, string>> | undefined;

  /** `files` are the files that the tables came from; absent: they are written from the tables. */
  constructor(kind: TokenizerKind, tables: ByteLevelTables, files?: Readonly<Record<string, string>>) {
    this.kind = kind;
    this.#tables = tables;
    this.#files = files;
    this.endOfText = tables.endOfText;
    this.specialTokens = tables.specialTokens;
    this.beginTokens = tables.beginTokens ?? [];
    this.endTokens = tables.endTokens ?? [];
    this.vocabSize = Math.max(tables.tokens.length, ...[...tables.specialTokens.values()].map((id) => id + 1));
    this.#specialText = new Map([...tables.specialTokens].map(([text, id]) => [id, text]));
    this.#byteTokens = new Uint32Array(256);
    const hasByte = new Uint8Array(256);
    for (const [id, bytes] of tables.tokens.entries()) {
      if (bytes?.length !== 1) continue;
      this.#byteTokens[bytes[0]!] = id;
      hasByte[bytes[0]!] = 1;
    }
    this.#hasByte = hasByte.includes(0) ? hasByte : undefined;
    const pairs = new BytePairs(this.#byteTokens, tables.merges.length);
    for (const [left, right, merged] of tables.merges) pairs.add(left, right, merged);
    this.#pieces = new PieceEncoder(pairs);
  }

  /** @throws UserError for a text with bytes that are not in the vocabulary */
  encode(text: string): TokenArray {
    return encodeAtOnce(this.encodeSteps(text));
  }

  *encodeSteps(text: string): EncodeSteps {
    if (this.#hasByte !== undefined) this.#checkBytes(text, this.#hasByte);
    const out = new TokenBuffer(this.vocabSize, Math.ceil(text.length / 3));
    if (this.#tables.merges.length === 0) yield* this.#encodeBytes(text, out);
    else yield* this.#encodePieces(text, out);
    return out.take();
  }

  #checkBytes(text: string, hasByte: Uint8Array): void {
    const unknown = new Set<number>();
    const known = new Set<string>();
    for (const character of text) {
      if (known.has(character)) continue;
      if (Buffer.from(character).every((byte) => hasByte[byte])) known.add(character);
      else unknown.add(character.codePointAt(0)!);
    }
    if (unknown.size === 0) return;
    throw new UserError(
      `the text has characters with bytes for which the tokenizer ${this.kind} has no token: ${shownCharacters(unknown)}. ` +
        'Leave them out, or train the tokenizer again with all bytes (initial_alphabet=ByteLevel.alphabet()).',
    );
  }

  *#encodePieces(text: string, out: TokenBuffer): Generator<number, void> {
    const pieceEnd = pieceEnds[this.#tables.splitting];
    for (let start = 0, nextYield = sliceUnits; start < text.length; ) {
      const end = pieceEnd(text, start);
      this.#pieces.encode(text, start, end, out);
      start = end;
      if (start >= nextYield) {
        yield start;
        nextYield = start + sliceUnits;
      }
    }
  }

  /** Without merges, pieces make no difference. */
  *#encodeBytes(text: string, out: TokenBuffer): Generator<number, void> {
    const utf8 = new TextEncoder();
    for (let start = 0; start < text.length; ) {
      let end = Math.min(text.length, start + sliceUnits);
      if (end < text.length && (text.codePointAt(end - 1) ?? 0) > 0xffff) end++;
      for (const byte of utf8.encode(text.slice(start, end))) out.push(this.#byteTokens[byte]!);
      start = end;
      yield start;
    }
  }

  decode(tokens: Iterable<number>): string {
    return decodeAll(this.streamDecoder(), tokens);
  }

  streamDecoder(): StreamDecoder {
    // A text that starts with U+FEFF keeps it.
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      push: (token) => {
        const bytes = this.#tables.tokens[token];
        if (bytes) return utf8.decode(bytes, { stream: true });
        return utf8.decode() + (this.#specialText.get(token) ?? '\ufffd');
      },
      flush: () => utf8.decode(),
    };
  }

  files(): Record<string, string> {
    return { ...(this.#files ?? byteLevelFiles(this.#tables)) };
  }
}
