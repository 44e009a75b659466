/**
 * Failures of standard output or error: a full disk, a closed terminal, a reader that has ended. Nothing more is printed there. A
 * command with another result than its output continues; any other command fails, because its result would be lost.
 */
import { messageOf } from '../base/errors.ts';
import { programName } from './calledAs.ts';

const streams = { 'standard output': process.stdout, 'standard error': process.stderr } as const;

let isProduct = true;
let listener: ((problem: string) => void) | undefined;
const untold: string[] = [];

/** Declares that the output of this command is not its result: it continues when it cannot print. */
export function goOnWithoutPrinting(): void {
  isProduct = false;
}

/** Reports each stream that has failed or fails, once. @returns a function that removes the listener */
export function onPrintFailure(tell: (problem: string) => void): () => void {
  listener = tell;
  for (const problem of untold.splice(0)) tell(problem);
  return () => {
    listener = undefined;
  };
}

/**
 * From now on a failed write does not end the process with an error.
 * @param onCutOff called when the reader of standard output has ended on purpose (`| head`)
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
    // A write to a file may throw. Later writes are dropped, but their callbacks are still called.
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
