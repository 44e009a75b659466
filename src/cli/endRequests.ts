/** Requests to end a command: a signal (base/endSignals.ts), or the end of the program that started it or reads its output. */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { endSignals, onSignals } from '../base/endSignals.ts';

/** Node removes the ignored SIGHUP of `nohup`. Without a terminal, SIGHUP does not mean that one was closed. */
const isHangUpMeant = [0, 1, 2].some((descriptor) => isatty(descriptor));
/** npm passes no signals to its command (`npx launch`, a script in package.json), so the command ends itself when npm ends. */
export const isStartedByNpm = /^'?(launch|lockstep)'?(\s|$)/.test(process.env['npm_lifecycle_script'] ?? '');
const startedBy = starters();
const startersIntervalMs = 500;

const cutOff = 'the end of who read its output';

/** A reason to end: a signal or its equivalent. */
export type EndCause = NodeJS.Signals | 'the end of npm' | typeof cutOff;

type Listener = (cause: EndCause) => void;

const listeners = new Set<Listener>();

/** Called for each request to end the process. @returns a function that removes the listener */
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
 * Ends gracefully at the first request, and at once when the user insists: with Ctrl-C or Ctrl-\ during the shutdown, or with SIGTERM
 * after one of them or after SIGTERM. Other causes may repeat for a single reason, and a batch system sends SIGTERM some time after its
 * first signal.
 * @param isIgnored causes that neither begin the end nor hasten it
 * @returns a function that removes the listener
 */
export function endInOrder({
  end,
  endAtOnce,
  isIgnored = () => false,
}: {
  readonly end: Listener;
  readonly endAtOnce: () => void;
  readonly isIgnored?: (cause: EndCause) => boolean;
}): () => void {
  let first: EndCause | undefined;
  let isOrdered = false;
  return onEndRequest((cause) => {
    if (isIgnored(cause)) return;
    const isKey = cause === 'SIGINT' || cause === 'SIGQUIT';
    const isOrder = isKey || cause === 'SIGTERM';
    // The Ctrl-C that ended `tee` also reaches this process: it is not a second request.
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

/**
 * Completes the message about an end that has begun: how to insist on it, for those who asked for it.
 * @param what happens then: `to stop at once`
 */
export function insistHint(cause: EndCause, what: string): string {
  if (cause === 'SIGINT' || cause === 'SIGQUIT') return `; press Ctrl-C again ${what}`;
  return cause === 'SIGTERM' ? `; send SIGTERM again ${what}` : '';
}

const schedulersSignals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGXCPU', 'SIGPWR'];

/** Whether schedulers ask for the end of a job in this way. People press keys, close terminals, or end `npm` or `tee`. */
export function isSchedulers(cause: EndCause): boolean {
  return (schedulersSignals as readonly EndCause[]).includes(cause);
}

/**
 * A scheduler repeats its signals. After the first, a process that listens no more, because it is nearly at its end, comes to that end with
 * its own exit code.
 */
export function outliveRepeatedSignals(): void {
  let wasAsked = false;
  const others = new Map(schedulersSignals.map((signal) => [signal, process.listenerCount(signal)]));
  onSignals(schedulersSignals, (signal) => {
    const isHeard = process.listenerCount(signal) > 1 + others.get(signal)!;
    if (!isHeard && !wasAsked) process.exit(128 + constants.signals[signal]);
    wasAsked = true;
  });
}

/** Called when the reader of standard output has ended, as after `| head`. A command that listens ends gracefully, others at once. */
export function outputCutOff(): void {
  for (const listener of listeners) listener(cutOff);
  if (listeners.size > 0) return;
  if (process.listenerCount('SIGTERM') === 0) process.exit(0);
  process.kill(process.pid, 'SIGTERM');
}

/**
 * The effect of signals on a command that does not listen: SIGHUP does nothing without a terminal, and SIGUSR1 ends it instead of
 * opening Node's debugger.
 */
export function tameSignals(): void {
  if (!isHangUpMeant) process.on('SIGHUP', () => {});
  onSignals(['SIGUSR1'], () => {
    if (process.listenerCount('SIGUSR1') === 1) process.exit(128 + constants.signals.SIGUSR1);
  });
}

/** Identifies npm, and the shell between npm and this process if the system shows it. It changes when either of them ends. */
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
