/** When a command is asked to end: by a signal (base/endSignals.ts), or since whoever started it or reads what it prints is gone. */
import { readFileSync } from 'node:fs';
import { isatty } from 'node:tty';
import { endSignals, onSignals } from '../base/endSignals.ts';

const usr1Number = 10;

/** Node takes away that `nohup` has ignored SIGHUP. Whoever started this without any terminal does not end it by closing one. */
const isHangUpMeant = [0, 1, 2].some((descriptor) => isatty(descriptor));
/** npm hands no signal on to the command that it runs (`npx launch`, a script of package.json): when it is ended, its command is to end. */
const isStartedByNpm = /^'?(launch|lockstep)'?(\s|$)/.test(process.env['npm_lifecycle_script'] ?? '');
const startedBy = starters();
const startersIntervalMs = 500;

const cutOff = 'the end of who read its output';

/** A reason to end: a signal, or what stands for one. */
export type EndCause = NodeJS.Signals | 'the end of npm' | typeof cutOff;

type Listener = (cause: EndCause) => void;

const listeners = new Set<Listener>();

/** Told each time the process is asked to end. @returns what ends the listening */
export function onEndRequest(listener: Listener): () => void {
  const ignoreSignals = onSignals(endSignals, (signal) => {
    if (signal !== 'SIGHUP' || isHangUpMeant) listener(signal);
  });
  const watch = isStartedByNpm ? setInterval(checkStarters, startersIntervalMs).unref() : undefined;
  function checkStarters(): void {
    if (starters() === startedBy) return;
    clearInterval(watch);
    listener('the end of npm');
  }
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    clearInterval(watch);
    ignoreSignals();
  };
}

/**
 * Ends in order when the process is asked to, and at once when somebody insists: by Ctrl-C or Ctrl-\ while it ends, or by SIGTERM after
 * one of them or SIGTERM. What else asks may do so twice for one reason, and a batch system sends SIGTERM some time after its announcement.
 * @returns what ends the listening
 */
export function endInOrder({ end, endAtOnce }: { end: Listener; endAtOnce: () => void }): () => void {
  let first: EndCause | undefined;
  let isOrdered = false;
  return onEndRequest((cause) => {
    const isKey = cause === 'SIGINT' || cause === 'SIGQUIT';
    const isOrder = isKey || cause === 'SIGTERM';
    // The Ctrl-C that has ended `tee` is the same as the one that comes then.
    const isInsistent = isOrdered || (isKey && first !== cutOff);
    if (first !== undefined && isOrder && isInsistent) {
      endAtOnce();
      return;
    }
    isOrdered ||= isOrder;
    if (first !== undefined) return;
    first = cause;
    end(cause);
  });
}

/** Who read standard output is gone, as after `| head`: a command that listens ends in order, any other at once, as by SIGTERM. */
export function outputCutOff(): void {
  for (const listener of listeners) listener(cutOff);
  if (listeners.size > 0) return;
  if (process.listenerCount('SIGTERM') === 0) process.exit(0);
  process.kill(process.pid, 'SIGTERM');
}

/**
 * What signals do to a command that does not listen: SIGHUP nothing where no terminal can have closed, and SIGUSR1 ends it as any other
 * program, instead of opening Node's debugger.
 */
export function tameSignals(): void {
  if (!isHangUpMeant) process.on('SIGHUP', () => {});
  onSignals(['SIGUSR1'], () => {
    if (process.listenerCount('SIGUSR1') === 1) process.exit(128 + usr1Number);
  });
}

/** npm, or the shell between npm and this process with npm behind it where the system tells: another where either has ended. */
function starters(): string {
  const parent = process.ppid;
  try {
    if (!/^(sh|dash|ash|bash|zsh)$/.test(readFileSync(`/proc/${parent}/comm`, 'utf8').trim())) return String(parent);
    // pid (name) state ppid …
    const [, grandparent] = readFileSync(`/proc/${parent}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    return `${parent} ${grandparent}`;
  } catch {
    return String(parent);
  }
}
