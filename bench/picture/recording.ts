/**
 * Records what a person sees: `launch` with its live view in one terminal, `kill -9` of a worker typed in another. Both are panes of a
 * tmux server of its own; nothing on the screens is made up.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { PeerError, UserError } from '../../src/base/errors.ts';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { unstyled } from './screen.ts';

const run = promisify(execFile);
const captureMs = 100;
const stepPattern = /^step ([\d,]+)\/([\d,]+)/m;

export interface RecordingOptions {
  /** Typed in the upper terminal. */
  readonly command: string;
  readonly columns: number;
  readonly rowCounts: readonly [upper: number, lower: number];
  /** The worker that is killed, and the part of the steps after which it is. */
  readonly worker: string;
  readonly killAfter: number;
  /** How long the run may take. */
  readonly limitMs: number;
}

/** Two screens as tmux prints them, with their styles. */
export interface Capture {
  readonly ms: number;
  readonly upper: string;
  readonly lower: string;
}

export interface Recording {
  /** Those that differ from the one before. */
  readonly captures: readonly Capture[];
  /** When the first step was shown, the worker was killed, all workers computed again, and the run was done. */
  readonly marks: { readonly training: number; readonly killed: number; readonly back: number; readonly done: number };
}

/**
 * @param progress told what is waited for
 * @throws UserError without tmux, PeerError if the run does not come to its end in time
 */
export async function record(options: RecordingOptions, progress: (what: string) => void): Promise<Recording> {
  const { command, columns, rowCounts, worker, killAfter, limitMs } = options;
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-picture-'));
  const tmux = async (...words: string[]) =>
    (await run('tmux', ['-S', join(folder, 'tmux'), '-f', '/dev/null', ...words])).stdout;
  try {
    await mkdir(join(folder, 'node_modules/.bin'), { recursive: true });
    await symlink(join(packageRoot, 'dist/cli/main.js'), join(folder, 'node_modules/.bin/launch'));
    const shell = ['env', '-u', 'CI', '-u', 'NO_COLOR', '-u', 'FORCE_COLOR', 'PS1=$ ', 'sh'];
    const size = ['-x', String(columns), '-y', String(rowCounts[0] + 1 + rowCounts[1])];
    await tmux('new-session', '-d', ...size, '-c', folder, ...shell).catch(withoutTmux);
    await tmux('split-window', '-v', '-l', String(rowCounts[1]), '-c', folder, ...shell);

    const start = performance.now();
    const captures: Capture[] = [];
    const capture = async () => {
      const upper = await tmux('capture-pane', '-p', '-e', '-t', '0');
      const lower = await tmux('capture-pane', '-p', '-e', '-t', '1');
      const last = captures.at(-1);
      if (upper !== last?.upper || lower !== last.lower) captures.push({ ms: performance.now() - start, upper, lower });
      return unstyled(upper);
    };
    const until = async (what: string, holds: (screen: string) => boolean | Promise<boolean>) => {
      progress(what);
      for (;;) {
        const screen = await capture();
        if (await holds(screen)) return performance.now() - start;
        if (performance.now() - start > limitMs) throw new PeerError(`waited in vain for ${what}:\n${screen}`);
        await sleep(captureMs);
      }
    };
    const type = async (pane: string, text: string) => {
      await tmux('send-keys', '-t', pane, '-l', text);
      const end = await until(`the command ${text}`, async () =>
        (await tmux('capture-pane', '-p', '-t', pane)).includes(text),
      );
      await tmux('send-keys', '-t', pane, 'Enter');
      return end;
    };

    await until('the shells', async () => (await tmux('capture-pane', '-p', '-t', '1')).startsWith('$'));
    await type('0', command);
    const training = await until('the first step', (screen) => partDone(screen) > 0);
    await until(`${100 * killAfter} % of the steps`, (screen) => partDone(screen) >= killAfter);
    const killed = await type('1', `kill -9 ${await pidOf(worker, folder)}`);
    await until('the loss of the worker', (screen) => screen.includes('SIGKILL'));
    const isBack = new RegExp(`^ *\\d+ +${worker} +computing`, 'm');
    const back = await until('its return', (screen) => isBack.test(screen));
    const done = await until('the end', (screen) => /^done: /m.test(screen));
    await sleep(500);
    await capture();
    return { captures, marks: { training, killed, back, done } };
  } finally {
    await tmux('kill-server').catch(() => {});
    await rm(folder, { recursive: true, force: true, maxRetries: 20 });
  }
}

function withoutTmux(error: NodeJS.ErrnoException): never {
  if (error.code === 'ENOENT') throw new UserError('tmux is not installed: apt-get install tmux');
  throw error;
}

/** From 0 to 1; 0 before the first step. */
function partDone(screen: string): number {
  const [, step = '0', steps = '1'] = stepPattern.exec(screen) ?? [];
  const count = (text: string) => Number(text.replaceAll(',', ''));
  return count(step) / count(steps);
}

/** By the events of the only run in the folder. */
async function pidOf(worker: string, folder: string): Promise<number> {
  const events = await readFile(join(folder, 'runs/quickstart/events.jsonl'), 'utf8');
  const joined = events.split('\n').find((line) => line.includes('"join"') && line.includes(worker));
  const pid = Number(/pid (\d+)/.exec(joined ?? '')?.[1]);
  if (!Number.isInteger(pid)) throw new PeerError(`events.jsonl names no process of ${worker}`);
  return pid;
}
