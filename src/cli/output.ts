/**
 * Where the lines of a command go. Every command prints through `print` and `warn`; a run may send them elsewhere for as long as
 * it lasts: above a live view, into JSON lines, nowhere (`--quiet`).
 */
import { messageOf, PeerError, UserError } from '../base/errors.ts';
import { style } from './terminal.ts';

export interface Output {
  /** What a user may want to know. */
  print(line: string): void;
  /** What a user should know. */
  warn(line: string): void;
  /** What the command came to: its last line. */
  conclude(line: string): void;
  /** The text that a trained model writes. Absent: nobody wants it, and it need not be written. */
  readonly sample?: (pieces: AsyncIterable<string>) => Promise<void>;
}

/** Standard output for people; warnings go to standard error. */
export const plainOutput: Output & Required<Pick<Output, 'sample'>> = {
  print: writeLine,
  warn: writeWarning,
  conclude: writeLine,
  async sample(pieces) {
    process.stdout.write('\n--- sample ---\n');
    for await (const piece of pieces) process.stdout.write(piece);
    process.stdout.write('\n--------------\n\n');
  },
};

/** Warnings, and the line that says what the command came to. */
export const quietOutput: Output = {
  print: () => {},
  warn: writeWarning,
  conclude: writeLine,
};

let current: Output = plainOutput;

/** Sends the lines of this process elsewhere. @returns where they went before */
export function setOutput(output: Output): Output {
  const before = current;
  current = output;
  return before;
}

export function currentOutput(): Output {
  return current;
}

export function print(line: string): void {
  current.print(line);
}

export function warn(line: string): void {
  current.warn(line);
}

export function conclude(line: string): void {
  current.conclude(line);
}

function writeLine(line: string): void {
  process.stdout.write(`${line}\n`);
}

function writeWarning(line: string): void {
  process.stderr.write(`${style('yellow', 'warning:', process.stderr)} ${line}\n`);
}

/**
 * What a command that failed says: in words; with `--debug`, and where it is a bug, with the stack and what caused it.
 * @param debug show where even an expected error came from
 */
export function errorText(error: unknown, debug: boolean): string {
  const isExpected = error instanceof UserError || error instanceof PeerError;
  if (isExpected && !debug) return messageOf(error);
  const texts: string[] = [];
  // A cause may go round in a circle.
  const seen = new Set<unknown>();
  for (let at = error; at !== undefined && !seen.has(at); at = at instanceof Error ? at.cause : undefined) {
    seen.add(at);
    texts.push(at instanceof Error ? (at.stack ?? at.message) : String(at));
  }
  return texts.join('\ncaused by: ');
}
