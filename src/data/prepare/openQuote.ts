/** Finds the quote that a table in CSV opens and never closes. The parser reports only where it gave up, which is the end of the file. */

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const quote = 0x22;

/** The bytes of a table that no complete row has yet. */
export class UnfinishedRow {
  #bytes: Buffer[] = [];
  /** Offset of the first of `#bytes` in the table. */
  #start = 0;
  /** Line feeds before it. */
  #lines = 0;

  push(chunk: Buffer): void {
    this.#bytes.push(chunk);
  }

  /** The rows before this offset are complete. */
  finished(offset: number): void {
    while (this.#start < offset) {
      const [first] = this.#bytes;
      if (first === undefined) return;
      const part = first.subarray(0, offset - this.#start);
      this.#start += part.length;
      for (let at = part.indexOf(lineFeed); at >= 0; at = part.indexOf(lineFeed, at + 1)) this.#lines++;
      if (part.length === first.length) this.#bytes.shift();
      else this.#bytes[0] = first.subarray(part.length);
    }
  }

  /**
   * @returns the line (from 1) of the quote that is open at the end; where none is, that of the row
   */
  openedAt(separator: string): { line: number; isQuote: boolean } {
    const bytes = Buffer.concat(this.#bytes);
    const separatorByte = separator.charCodeAt(0);
    const endsCell = (byte: number | undefined): boolean =>
      byte === undefined || byte === separatorByte || byte === lineFeed || byte === carriageReturn;
    let line = this.#lines + 1;
    let opened: number | undefined;
    let isCellStart = true;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (opened === undefined && byte === quote && isCellStart) opened = line;
      else if (opened !== undefined && byte === quote) {
        if (bytes[at + 1] === quote) at++;
        else if (endsCell(bytes[at + 1])) opened = undefined;
      }
      isCellStart = opened === undefined && endsCell(byte);
      if (byte === lineFeed) line++;
    }
    return { line: opened ?? this.#lines + 1, isQuote: opened !== undefined };
  }
}
