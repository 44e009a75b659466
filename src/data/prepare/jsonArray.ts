/**
 * Converts an array of JSON objects to JSON lines, one object each, so that readers of lines can read it. It does not check the objects;
 * the readers do.
 */
import { UserError } from '../../base/errors.ts';

const lineFeed = 0x0a;
const space = 0x20;
const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const opening = new Set([0x5b, 0x7b]);
const closing = new Set([0x5d, 0x7d]);
const bracket = 0x5b;
const byteOrderMark = [0xef, 0xbb, 0xbf];

/** @throws UserError if it is not an array, does not end, or continues after its end */
export async function* arrayLines(bytes: AsyncIterable<Buffer>, name: string): AsyncGenerator<Buffer> {
  const scanner = new ArrayScanner(name);
  for await (const chunk of bytes) {
    const lines = scanner.push(chunk);
    if (lines.length > 0) yield lines;
  }
  scanner.end();
}

class ArrayScanner {
  readonly #name: string;
  #bytes = 0;
  #depth = 0;
  #isBegun = false;
  #isInString = false;
  #isEscaped = false;

  constructor(name: string) {
    this.#name = name;
  }

  push(chunk: Buffer): Buffer {
    const out = Buffer.allocUnsafe(chunk.length);
    let length = 0;
    for (const byte of chunk) {
      const written = this.#isInString ? this.#inString(byte) : this.#outside(byte);
      if (written !== undefined) out[length++] = written;
      this.#bytes++;
    }
    return out.subarray(0, length);
  }

  end(): void {
    if (!this.#isBegun) throw this.#wrong('holds nothing');
    if (this.#depth > 0) throw this.#wrong('ends before its closing bracket: the file is cut off');
  }

  #inString(byte: number): number {
    if (this.#isEscaped) this.#isEscaped = false;
    else if (byte === backslash) this.#isEscaped = true;
    else if (byte === quote) this.#isInString = false;
    return byte;
  }

  /** The output byte for it, if any. White space between values becomes a space, because a line feed ends a line. */
  #outside(byte: number): number | undefined {
    if (byte === space || (byte >= 0x09 && byte <= 0x0d)) return this.#depth > 1 ? space : undefined;
    if (this.#depth === 0) {
      if (byte === bracket && !this.#isBegun) {
        this.#isBegun = true;
        this.#depth = 1;
      } else if (this.#isBegun) throw this.#wrong(`continues after its end, at byte ${this.#bytes}`);
      else if (byte !== byteOrderMark[this.#bytes]) throw this.#wrong('does not begin with [');
      return undefined;
    }
    if (byte === comma && this.#depth === 1) return lineFeed;
    if (byte === quote) this.#isInString = true;
    else if (opening.has(byte)) this.#depth++;
    else if (closing.has(byte) && --this.#depth === 0) return lineFeed;
    return byte;
  }

  #wrong(what: string): UserError {
    return new UserError(`${this.#name}: expected an array of JSON objects, but it ${what}`);
  }
}
