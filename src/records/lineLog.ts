/**
 * A file of JSON objects, one per line, that grows during a run. Lines are written in the background, in order. A write error gives one
 * warning and loses lines, but never ends the run. metricsLog.ts and eventsLog.ts define the lines.
 */
import { appendFile, open, readFile } from 'node:fs/promises';
import { errorCode, messageOf } from '../base/errors.ts';
import { writeWhole } from '../base/writeWhole.ts';

/** Maximum length of a torn line that {@link cutTornLine} looks for. */
const tornLineBytesMax = 2 ** 20;

/** Selects the lines to keep. */
type Keep = (line: string) => boolean;

export class LineLog {
  readonly #path: string;
  /** What is lost if the disk fails: `metrics`. */
  readonly #what: string;
  readonly #onWarning: (message: string) => void;
  #pending: (string | Keep)[] = [];
  #writing: Promise<void> | undefined;
  #hasWarned = false;
  #isTorn = false;

  /** @param path a file that ends with a complete line, or no file */
  constructor(path: string, what: string, onWarning: (message: string) => void) {
    this.#path = path;
    this.#what = what;
    this.#onWarning = onWarning;
  }

  /** Queues a line. */
  append(value: object): void {
    this.#queue(`${JSON.stringify(value)}\n`);
  }

  /** Drops the lines that `keep` does not want, of those queued so far and not of later ones. */
  filter(keep: Keep): void {
    this.#queue(keep);
  }

  /** Resolves when every queued line is written, or its write has failed. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  #queue(entry: string | Keep): void {
    this.#pending.push(entry);
    this.#writing ??= this.#drain();
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      const entries = this.#pending;
      this.#pending = [];
      for (let from = 0; from < entries.length; ) {
        const entry = entries[from];
        if (typeof entry === 'function') {
          await this.#filter(entry);
          from++;
          continue;
        }
        const rest = entries.slice(from);
        const end = rest.findIndex((other) => typeof other === 'function');
        const lines = end < 0 ? rest : rest.slice(0, end);
        await this.#write(lines.join(''));
        from += lines.length;
      }
    }
    this.#writing = undefined;
  }

  async #write(lines: string): Promise<void> {
    try {
      // A write that failed may have left part of a line.
      await appendFile(this.#path, this.#isTorn ? `\n${lines}` : lines);
      this.#isTorn = false;
    } catch (error) {
      this.#isTorn = true;
      this.#warn(error);
    }
  }

  async #filter(keep: Keep): Promise<void> {
    try {
      await replaceLines(this.#path, (await readLines(this.#path)).filter(keep));
      this.#isTorn = false;
    } catch (error) {
      this.#warn(error);
    }
  }

  #warn(error: unknown): void {
    if (!this.#hasWarned) {
      this.#onWarning(`cannot write ${this.#path}: ${messageOf(error)}; ${this.#what} are lost until it can`);
    }
    this.#hasWarned = true;
  }
}

/** The lines of a file, without their ends; none if there is no file. A line that was torn is one of them. */
export async function readLines(path: string): Promise<string[]> {
  try {
    return (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '');
  } catch (error) {
    // Any other error would lose what the run has said so far.
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Replaces a file with these lines; a crash must not lose them. */
export async function replaceLines(path: string, lines: readonly string[]): Promise<void> {
  await writeWhole(path, lines.map((line) => `${line}\n`).join(''));
}

/** Cuts off a last line that a process did not write to its end. Does nothing if there is no file. */
export async function cutTornLine(path: string): Promise<void> {
  const file = await open(path, 'r+').catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (file === undefined) return;
  try {
    const { size } = await file.stat();
    const tail = Buffer.alloc(Math.min(size, tornLineBytesMax));
    const { bytesRead } = await file.read(tail, 0, tail.length, size - tail.length);
    const end = size - tail.length + tail.subarray(0, bytesRead).lastIndexOf('\n') + 1;
    if (end < size) await file.truncate(end);
  } finally {
    await file.close();
  }
}
