/**
 * Workers on other machines, started by the user's own `ssh`, with its configuration, agent and known hosts. The key of the run goes
 * through standard input, because arguments and environments of commands are visible to others.
 *
 * The other machine watches the same input: when it ends, since this process ended or the connection broke, the workers leave.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { shellWord } from '../base/shellWord.ts';
import type { Host } from './hosts.ts';

/** Never a question, and a dead connection is noticed within half a minute. Options of the command line come first. */
const sshOptions = ['-T', '-o', 'BatchMode=yes', '-o', 'ServerAliveInterval=10', '-o', 'ServerAliveCountMax=3'];

/** Exit code of ssh when it could not connect, log in or keep the connection. */
const sshFailed = 255;

/** Time in which workers leave after a step, in seconds, before they are ended at once. */
const leaveSeconds = 20;

/** Last lines of output that an error shows, and the maximum number of characters of each. */
const shownLines = 4;
const lineLengthMax = 300;

export interface SshWorkersOptions {
  readonly hosts: readonly Host[];
  /** Where the workers join: `tcp://a:5555`. */
  readonly address: string;
  /** The run's keys for joining: one line. */
  readonly joinKey: string;
  /** More options of `launch join` for all of them, each one word: `--ring-ports=6000-6015`. */
  readonly joinWords: readonly string[];
  /** Folder on the other machines where Lockstep is installed and where the workers run. */
  readonly folder: string;
  /** The workers of a host have ended before {@link SshWorkers.close}; `problem` if not because the run has. */
  readonly onEnd: (host: Host, problem: string | undefined) => void;
}

export interface SshWorkers {
  /** Lets them end, and ends them after `graceMs`. Resolves when every ssh has ended. */
  close(graceMs: number): Promise<void>;
}

export function startSshWorkers({ hosts, address, joinKey, joinWords, folder, onEnd }: SshWorkersOptions): SshWorkers {
  let isClosing = false;
  const children = hosts.map((host) => {
    const command = remoteCommand(folder, ['join', address, '--workers', String(host.workers), ...joinWords]);
    // Its own group: Ctrl-C reaches only this process, which ends the run in order.
    const child = spawn('ssh', [...sshOptions, '--', host.target, command], {
      stdio: ['pipe', 'ignore', 'pipe'],
      detached: true,
    });
    const output = new LastLines();
    child.stderr.setEncoding('utf8').on('data', (text: string) => output.add(text));
    const ended = new Promise<void>((resolve) => {
      let hasEnded = false;
      // A program that cannot be started has both events.
      const end = (problem: string | undefined) => {
        if (hasEnded) return;
        hasEnded = true;
        resolve();
        if (!isClosing) onEnd(host, problem);
      };
      child.on('error', (error) => end(`${host.target}: cannot start ssh: ${error.message}`));
      child.on('close', (code, signal) => end(problemOf(host, code, signal, output.lines())));
    });
    // If ssh has ended, its end says why.
    child.stdin.on('error', () => undefined);
    child.stdin.write(`${joinKey.trim()}\n`);
    return { child, ended };
  });
  return {
    async close(graceMs) {
      isClosing = true;
      for (const { child } of children) child.stdin.end();
      const patience = setTimeout(() => kill(children.map(({ child }) => child)), graceMs);
      await Promise.all(children.map(({ ended }) => ended));
      clearTimeout(patience);
    },
  };
}

/** The last lines that another machine prints, each shortened: they may be of any length and contain anything. */
class LastLines {
  readonly #lines: string[] = [];
  /** The beginning of the line that is not complete. */
  #line = '';

  add(text: string): void {
    for (const [index, part] of text.split('\n').entries()) {
      if (index > 0) this.#endLine();
      this.#line = (this.#line + part).slice(0, lineLengthMax);
    }
  }

  /** After the last text. */
  lines(): readonly string[] {
    this.#endLine();
    return this.#lines;
  }

  #endLine(): void {
    // A terminal would obey control characters.
    const line = this.#line.replaceAll(/\p{Cc}/gu, '').trim();
    this.#line = '';
    if (line !== '') this.#lines.push(line);
    this.#lines.splice(0, this.#lines.length - shownLines);
  }
}

function kill(children: readonly ChildProcess[]): void {
  for (const child of children) child.kill('SIGKILL');
}

function problemOf(
  { target, workers }: Host,
  code: number | null,
  signal: NodeJS.Signals | null,
  lines: readonly string[],
): string | undefined {
  if (code === 0) return undefined;
  const said = lines.length === 0 ? '' : `: ${lines.join(' / ')}`;
  if (signal !== null) return `${target}: ssh was ended by ${signal}${said}`;
  if (code === sshFailed) return `${target}: ssh failed${said}`;
  return `${target}: its ${workers} workers ended with code ${code}${said}`;
}

/**
 * A command for the login shell of the other machine: a shell reads the key, starts `launch` and watches its input.
 * @param folder on the other machine
 * @param words of `launch`
 */
export function remoteCommand(folder: string, words: readonly string[]): string {
  // Logins without a terminal often lack the folder of Node in their PATH; it is mostly the same as here.
  const path = shellWord(dirname(process.execPath));
  const script = [
    `cd ${shellWord(folder)} && IFS= read -r LOCKSTEP_JOIN_KEY && export LOCKSTEP_JOIN_KEY || exit 1`,
    `PATH="$PATH":${path}; export PATH`,
    'l=node_modules/.bin/launch; [ -x "$l" ] || l=launch',
    // A shell gives commands in the background no input, so they take it from another descriptor.
    'exec 3<&0',
    `"$l" ${words.map(shellWord).join(' ')} </dev/null 3<&- & p=$!`,
    `{ cat <&3; kill -TERM "$p"; n=0; while kill -0 "$p" && [ "$n" -lt ${leaveSeconds} ]; do sleep 1; n=$((n+1)); done; kill -TERM "$p"; } >/dev/null 2>&1 & w=$!`,
    'exec 3<&- </dev/null; wait "$p"; c=$?; kill "$w" 2>/dev/null; exit "$c"',
  ];
  return `exec sh -c ${shellWord(script.join('; '))}`;
}
