/**
 * The output of a command. Every command prints with `print` and `warn`. A run may redirect them while it lasts: above a live view,
 * into JSON lines, or nowhere (`--quiet`).
 */
import { messageOf, PeerError, UserError } from '../base/errors.ts';
import { failedCall } from '../base/systemReason.ts';
import { style } from './terminal.ts';

export interface Output {
  /** Information. */
  print(line: string): void;
  /** A warning. */
  warn(line: string): void;
  /** The result of the command: its last line. */
  conclude(line: string): void;
  /** Receives the sample from the trained model. Absent if no sample is needed. */
  readonly sample?: (pieces: AsyncIterable<string>) => Promise<void>;
}

/** Text on standard output; warnings go to standard error. */
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

/** Only warnings and the last line, which gives the result. */
export const quietOutput: Output = {
  print: () => {},
  warn: writeWarning,
  conclude: writeLine,
};

let current: Output = plainOutput;

/** Redirects the output of this process. @returns the previous output */
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
 * The text for an error: its message or, with `--debug` and for bugs, its stack and causes.
 * @param debug show the stack of expected errors as well
 */
export function errorText(error: unknown, debug: boolean): string {
  const isExpected = error instanceof UserError || error instanceof PeerError;
  if (isExpected && !debug) return messageOf(error);
  const call = failedCall(error);
  if (call !== undefined && !debug) return call;
  const texts: string[] = [];
  // Causes may form a cycle.
  const seen = new Set<unknown>();
  for (let at = error; at !== undefined && !seen.has(at); at = at instanceof Error ? at.cause : undefined) {
    seen.add(at);
    texts.push(at instanceof Error ? (at.stack ?? at.message) : String(at));
  }
  return texts.join('\ncaused by: ');
}
