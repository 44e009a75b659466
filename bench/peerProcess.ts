/** A program that a bench compares with: it answers each line on its standard input by one on its standard output. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { PeerError } from '../src/base/errors.ts';

export interface PeerCommand {
  /** For messages. */
  readonly name: string;
  readonly file: string;
  readonly args?: readonly string[];
  /** Beside this process' own. */
  readonly env?: Readonly<Record<string, string>>;
}

const stderrCharsMost = 10_000;

/** Stops a library's idle threads from spinning, by default for tens of milliseconds, while the next one is timed. */
export const idleThreadsSleep = { OPENBLAS_THREAD_TIMEOUT: '20', GOMP_SPINCOUNT: '20000' } as const;

export class PeerProcess {
  readonly #name: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<never>;
  readonly #lines: AsyncIterator<string>;
  #stderr = '';

  constructor({ name, file, args = [], env = {} }: PeerCommand) {
    this.#name = name;
    this.#child = spawn(file, args, { env: { ...process.env, ...env }, stdio: 'pipe' });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-stderrCharsMost);
    });
    this.#child.stdin.on('error', () => {}); // a process that is gone says so by its end
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#ended = new Promise((_, reject) => {
      const fail = (how: string): void => reject(new PeerError(`${name} ${how}${lastLine(this.#stderr)}`));
      this.#child.on('error', ({ message }) => fail(`did not start: ${message}`));
      this.#child.on('close', (code, signal) => fail(`ended with ${signal ?? `exit code ${code}`}`));
    });
    this.#ended.catch(() => {}); // reported to callers that await it
  }

  /** The next line it says. @throws PeerError if it ends instead */
  async line(): Promise<string> {
    const next = await Promise.race([this.#lines.next(), this.#ended]);
    return next.done ? await this.#ended : next.value;
  }

  async ask(request: string): Promise<string> {
    this.#child.stdin.write(`${request}\n`);
    return await this.line();
  }

  /** The number of an answer `KEYWORD NUMBER`. @throws PeerError for any other */
  async askNumber(request: string, keyword: string): Promise<number> {
    const answer = await this.ask(request);
    const [word, number] = answer.split(' ');
    if (word === keyword && Number.isFinite(Number(number))) return Number(number);
    throw new PeerError(`${this.#name}: expected "${keyword} NUMBER" to "${request}", received "${answer}"`);
  }

  close(): void {
    this.#child.kill();
  }
}

function lastLine(stderr: string): string {
  const line = stderr.trim().split('\n').at(-1);
  return line ? `: ${line}` : '';
}
