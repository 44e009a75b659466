/**
 * Where the lines of a command go. Every command prints through `print` and `warn`; a run may send them elsewhere for as long as
 * it lasts: above a live view, into JSON lines, nowhere (`--quiet`).
 */
import { style } from './style.ts';

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
