/**
 * Standard output or error that cannot be written: its disk is full, its terminal is closed, its reader is gone. Nothing more is printed
 * there. A command whose product is not what it prints goes on; any other fails, since nobody would see its result.
 */
import { messageOf } from '../base/errors.ts';
import { programName } from './calledAs.ts';

const streams = { 'standard output': process.stdout, 'standard error': process.stderr } as const;

let isProduct = true;
let listener: ((problem: string) => void) | undefined;
const untold: string[] = [];

/** What this command prints is not what it is for: it goes on when it cannot print. */
export function goOnWithoutPrinting(): void {
  isProduct = false;
}

/** Told of each stream that has failed or fails, in words, once. @returns what ends the listening */
export function onPrintFailure(tell: (problem: string) => void): () => void {
  listener = tell;
  for (const problem of untold.splice(0)) tell(problem);
  return () => {
    listener = undefined;
  };
}

/**
 * From now on a failing write is not an error that ends the process.
 * @param onCutOff told where the reader of standard output is gone (`| head`), which is its wish
 */
export function survivePrintFailures(onCutOff: () => void): void {
  for (const [name, stream] of Object.entries(streams)) {
    const write = stream.write.bind(stream) as (...given: unknown[]) => boolean;
    let hasFailed = false;
    const fail = (error: NodeJS.ErrnoException): void => {
      if (hasFailed) return;
      hasFailed = true;
      if (error.code === 'EPIPE' && stream === process.stdout) onCutOff();
      else failed(`${name} cannot be written: ${messageOf(error)}`);
    };
    stream.on('error', fail);
    // A write to a file may throw; what is written after a failure goes nowhere, and whoever waits for it is called.
    stream.write = ((...given: unknown[]): boolean => {
      if (!hasFailed) {
        try {
          return write(...given);
        } catch (error) {
          fail(error as NodeJS.ErrnoException);
        }
      }
      const done = given.at(-1);
      if (typeof done === 'function') process.nextTick(done as () => void);
      return true;
    }) as typeof stream.write;
  }
}

function failed(problem: string): void {
  if (listener !== undefined) listener(problem);
  else if (!isProduct) untold.push(problem);
  else {
    process.stderr.write(`${programName()}: ${problem}\n`);
    process.exit(1);
  }
}
