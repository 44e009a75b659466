/** Runs the built command line in a terminal of tmux, on a server of its own, and looks at what a person would see. */
import { execFile, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { packageRoot } from '../../src/base/packageRoot.ts';

const run = promisify(execFile);
const entry = join(packageRoot, 'dist/cli/main.js');

/** Whether there is a tmux. */
export const hasTmux = spawnSync('tmux', ['-V']).status === 0;

export interface Terminal {
  /** The rows that are on the screen. */
  screen(): Promise<string[]>;
  /** All rows, those that scrolled away too. Rows that a terminal broke count as one. */
  scrollBack(): Promise<string[]>;
  /** Resolves with the screen once it is as wanted; fails after a minute. */
  shows(wanted: RegExp | ((screen: string[]) => boolean)): Promise<string[]>;
  keys(...keys: string[]): Promise<void>;
  resize(columns: number, rows: number): Promise<void>;
  isCursorVisible(): Promise<boolean>;
  /** Every byte that was written to the terminal. */
  raw(): Promise<string>;
  /** Ends the tmux server and all that runs in it. */
  close(): Promise<void>;
}

/** Starts `launch ARGS…` in a shell at this size; the shell prints `exit code N` when it has ended, and stays. */
export async function openTerminal(
  args: readonly string[],
  { cwd, columns, rows }: { cwd: string; columns: number; rows: number },
): Promise<Terminal> {
  const name = `lockstep-${randomUUID().slice(0, 8)}`;
  const rawPath = join(cwd, `${name}.raw`);
  const tmux = async (...words: string[]) =>
    (await run('tmux', ['-S', join(cwd, name), '-f', '/dev/null', ...words])).stdout;
  const command = [process.execPath, entry, ...args].map(quoted).join(' ');
  // A shell that reads the command later: the pipe must be there before the first byte.
  const environment = ['env', '-u', 'CI', '-u', 'NO_COLOR', '-u', 'FORCE_COLOR', `TMPDIR=${cwd}`];
  const size = ['-x', String(columns), '-y', String(rows)];
  await tmux('new-session', '-d', ...size, '-c', cwd, ...environment, 'PS1=', 'sh');
  await tmux('set-option', '-g', 'history-limit', '10000');
  await tmux('pipe-pane', '-o', `exec cat > ${quoted(rawPath)}`);
  await tmux('send-keys', '-l', `clear; ${command}; echo "exit code $?"`);
  await tmux('send-keys', 'Enter');
  const rowsOf = async (...words: string[]) =>
    (await tmux('capture-pane', '-p', ...words))
      .trimEnd()
      .split('\n')
      .map((row) => row.trimEnd());
  const screen = () => rowsOf();
  return {
    screen,
    scrollBack: () => rowsOf('-J', '-S', '-'),
    async shows(wanted) {
      const endMs = performance.now() + 60_000;
      for (;;) {
        const shown = await screen();
        if (typeof wanted === 'function' ? wanted(shown) : wanted.test(shown.join('\n'))) return shown;
        if (performance.now() > endMs) throw new Error(`the terminal never showed ${wanted}:\n${shown.join('\n')}`);
        await sleep(50);
      }
    },
    keys: async (...keys) => void (await tmux('send-keys', ...keys)),
    resize: async (width, height) => void (await tmux('resize-window', '-x', String(width), '-y', String(height))),
    isCursorVisible: async () => (await tmux('display-message', '-p', '#{cursor_flag}')).trim() === '1',
    raw: async () => (existsSync(rawPath) ? await readFile(rawPath, 'utf8') : ''),
    close: async () => void (await tmux('kill-server')),
  };
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
